"""A stage's folder: run again only if its configuration or inputs changed, resumed where it was killed."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import nn

from heedful.data import atomic
from heedful.engine import checkpoint, terminal
from heedful.engine.fit import Step
from heedful.engine.optim import Optimizer
from heedful.errors import UserError

Inputs = Mapping[str, Path | str | None]
"""Where a stage's inputs lie: their contents count, not their paths."""


class StageConfig(BaseModel):
    """The base of every stage's configuration: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    output: Path
    seed: int = 0
    save_every: float = 20.0
    resume: bool = True


# Where a result is written and how often it is saved do not change it.
_IRRELEVANT = {"output", "save_every", "resume"}


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    if path.is_file():
        return checkpoint.digest(path)
    whole = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        whole.update(f"{file.relative_to(path)}\0{checkpoint.digest(file)}\n".encode())
    return whole.hexdigest()


class Stage:
    """The folder of one stage while it runs."""

    def __init__(self, name: str, config: StageConfig, inputs: Inputs) -> None:
        self.name, self.config, self.folder = name, config, Path(config.output)
        values = json.loads(config.model_dump_json(exclude=_IRRELEVANT | set(inputs)))
        self.identity = {
            "config": values,
            "inputs": {
                k: fingerprint(Path(p)) for k, p in inputs.items() if p is not None and Path(p).exists()
            },
        }
        self.began = time.perf_counter()
        self._file = self.folder / "stage.json"
        self._spent = 0.0

    def finished(self) -> dict[str, Any] | None:
        """The result of an earlier identical run, if it came to its end; else prepare the folder for this one."""
        old = json.loads(self._file.read_text()) if self._file.is_file() else None
        if old is not None and old["identity"] == self.identity and "result" in old and self.config.resume:
            return dict(old["result"])
        if old is not None and (old["identity"] != self.identity or not self.config.resume):
            if "result" not in old and self.config.resume:
                raise UserError(
                    f"'{self.folder}' holds an unfinished {self.name} run with other settings "
                    f"({difference(old['identity'], self.identity)}): finish it, choose another output, "
                    "or discard it with resume=false"
                )
            shutil.rmtree(self.folder)
            old = None
        self.folder.mkdir(parents=True, exist_ok=True)
        self._spent = old.get("seconds", 0.0) if old else 0.0
        if old is None:
            atomic.write_json(self._file, {"identity": self.identity})
        return None

    def finish(self, **result: Any) -> dict[str, Any]:
        """Record the result; from now on the same stage is not run again. Checkpoints are no longer needed."""
        result["seconds"] = round(self._spent + time.perf_counter() - self.began, 3)
        atomic.write_json(self._file, {"identity": self.identity, "result": result})
        for old in self.folder.glob("checkpoint-*"):
            shutil.rmtree(old)
        return result

    def steps(
        self,
        run: Callable[[checkpoint.Checkpoint | None], Iterable[Step]],
        model: nn.Module,
        optimizer: Optimizer,
        *,
        total: int,
        state: Callable[[], Mapping[str, Any]] = dict,
        at_boundary: Callable[[int], bool] = lambda step: True,
        note: Callable[[Step], str] = lambda step: f"loss {step.loss:.3f}",
    ) -> Iterator[Step]:
        """Yield the steps of `run(checkpoint to start from)`, logging each and saving every `save_every` seconds.

        A checkpoint is taken only after a step for which `at_boundary(steps done)` holds, with `state()`.
        """
        found = checkpoint.latest(self.folder)
        if found is not None:
            found.restore(model, optimizer)
            self._spent = float(found.state["seconds"])
        start = found.step if found else 0
        metrics = self._truncated_metrics(start)
        saved = time.perf_counter()
        with metrics.open("a", encoding="utf-8") as file, terminal.progress(self.name, total) as advance:
            for step in run(found):
                row = {"step": step.number, "loss": step.loss, "grad_norm": step.grad_norm, **step.metrics}
                row |= {"tokens": step.tokens, "seconds": round(step.seconds, 4)}
                file.write(json.dumps(row) + "\n")
                advance(step.number + 1, f"{note(step)}  {step.tokens / step.seconds:,.0f} tok/s")
                yield step
                due = time.perf_counter() - saved >= self.config.save_every
                if due and at_boundary(step.number + 1) and step.number + 1 < total:
                    file.flush()
                    spent = self._spent + time.perf_counter() - self.began
                    checkpoint.save(
                        self.folder, step.number + 1, model, optimizer, {**state(), "seconds": spent}
                    )
                    saved = time.perf_counter()

    def _truncated_metrics(self, start: int) -> Path:
        """metrics.jsonl without the steps that will be taken again, and without a line cut short."""
        path = self.folder / "metrics.jsonl"
        kept = []
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    if json.loads(line)["step"] < start:
                        kept.append(line)
                except ValueError:
                    break
        atomic.write_text(path, "".join(line + "\n" for line in kept))
        return path


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Name what differs between two identities."""
    changes = []
    for part in ("config", "inputs"):
        for key in sorted(old[part].keys() | new[part].keys()):
            before, after = old[part].get(key), new[part].get(key)
            if before != after:
                changes.append(
                    f"{key} was {before}, is {after}" if part == "config" else f"the {key} file changed"
                )
    return "; ".join(changes)
