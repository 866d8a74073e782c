"""A stage's folder: run again only if its configuration or inputs changed, resumed where it was killed."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import nn

from heedful import __version__
from heedful.data import atomic
from heedful.engine import allocator, checkpoint, process, ranks, terminal
from heedful.engine.fit import Step
from heedful.engine.kernels import choice, library
from heedful.engine.optim import Stepping
from heedful.errors import UserError
from heedful.nn import hub

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
    """The folder of one stage while it runs.

    A stage looks whether it is `finished`, reads its inputs, and only then `begin`s to write, so that a fault in
    the inputs leaves nothing behind and an earlier result in place. `inputs` are named after their settings,
    or after a part of one ("models.rl").
    """

    def __init__(self, name: str, config: StageConfig, inputs: Inputs) -> None:
        self.name, self.config, self.folder, self.inputs = name, config, Path(config.output), inputs
        contents = {key.partition(".")[0] for key in inputs}
        self.identity = {
            "stage": name,
            "config": json.loads(config.model_dump_json(exclude=_IRRELEVANT | contents)),
            "inputs": {key: described(place) for key, place in inputs.items() if place is not None},
        }
        self.began = time.perf_counter()
        self._file = self.folder / "stage.json"
        self._spent = 0.0

    def content(self, *names: str) -> list[str]:
        """The fingerprints of these inputs."""
        return [str(self.identity["inputs"][name]) for name in names]

    def finished(self) -> dict[str, Any] | None:
        """The result of an earlier identical run, if it came to its end.

        Raises UserError if the folder holds another stage's run, or checkpoints of one with other settings.
        """
        ranks.agree("version of heedful", __version__)
        told = ranks.decided(lambda: self.identity)
        ranks.agree(f"settings or files ({difference(told, self.identity, self.inputs)})", self.identity)
        return ranks.decided(self._finished)

    def _finished(self) -> dict[str, Any] | None:
        old = self._old()
        if old is None:
            return None
        if old["identity"]["stage"] != self.name:
            raise UserError(
                f"'{self.folder}' holds a run of {old['identity']['stage']}: choose another output for {self.name}"
            )
        if not self.config.resume:
            return None
        same = old["identity"] == self.identity
        if "result" in old and same:
            checkpoint.discard(self.folder)  # in case of a death between the two steps of `finish`
            keep_kernels(old)  # for the stages that follow
            return dict(old["result"])
        if "result" not in old and not same and checkpoint.exist(self.folder):
            raise UserError(
                f"'{self.folder}' holds checkpoints of an unfinished {self.name} run with other settings "
                f"({difference(old['identity'], self.identity, self.inputs)}): finish it, choose another output, "
                "or discard it with resume=false"
            )
        return None

    def begin(self) -> None:
        """Make the folder this run's: one that was killed goes on, any other gives way."""
        kernels = ranks.decided(self._begin)
        if not ranks.first() and kernels == library.TORCH:
            library.keep(kernels)

    def _begin(self) -> str:
        old = self._old()
        unfinished = old is not None and old["identity"] == self.identity and "result" not in old
        if old is not None and unfinished and self.config.resume:
            keep_kernels(old)
        else:
            self._write()
            checkpoint.discard(self.folder)
        return library.in_use()

    def finish(self, **result: Any) -> dict[str, Any]:
        """Record the result; from now on the same stage is not run again. Checkpoints are no longer needed."""
        result["seconds"] = round(self._spent + time.perf_counter() - self.began, 3)
        self._write(result=result)
        checkpoint.discard(self.folder)
        allocator.release()
        return result

    def _write(self, **more: Any) -> None:
        atomic.write_json(self._file, {"identity": self.identity, **kernels_in_use(), **more})

    def _old(self) -> dict[str, Any] | None:
        """What `stage.json` says, or None without one."""
        if not self._file.is_file():
            return None
        try:
            old = json.loads(self._file.read_text(encoding="utf-8"))
            old["identity"]["stage"], old["identity"]["config"], old["identity"]["inputs"]
        except (ValueError, KeyError, TypeError):
            raise UserError(f"'{self._file}' is damaged: remove it to run {self.name} anew") from None
        return dict(old)

    def steps(
        self,
        run: Callable[[checkpoint.Checkpoint | None], Iterable[Step]],
        model: nn.Module,
        optimizer: Stepping,
        *,
        total: int,
        state: Callable[[], Mapping[str, Any]] = dict,
        at_boundary: Callable[[int], bool] = lambda step: True,
        note: Callable[[Step], str] = lambda step: f"loss {step.loss:.3f}",
    ) -> Iterator[Step]:
        """Yield the steps of `run(checkpoint to start from)`, logging each and saving every `save_every` seconds.

        A checkpoint is taken only after a step for which `at_boundary(steps done)` holds, with `state()`. Where several
        processes train, the first one logs and saves, and goes on alone after the last step.
        """
        self.begin()
        identity = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()
        found = checkpoint.latest(self.folder, identity=identity)
        start = found.step if found else 0
        ranks.agree(f"checkpoints in '{self.folder}'", start)
        if found is not None:
            found.restore(model, optimizer)
            self._spent = float(found.state["seconds"])
            process.say_if_changed(self.name, found.state)
        if ranks.several():
            ranks.agree("weights", checkpoint.weights_digest(model))
        if not ranks.first():
            yield from run(found)
            ranks.leave()
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
                    os.fsync(file.fileno())
                    now = {**state(), "seconds": self._spent + time.perf_counter() - self.began}
                    now |= process.parallel()
                    checkpoint.save(self.folder, step.number + 1, model, optimizer, now, identity=identity)
                    allocator.release()  # a heap that is kept grows by holes that nothing fits into
                    saved = time.perf_counter()
        if ranks.several():
            ranks.leave()
            process.use_cores()

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


def kernels_in_use() -> dict[str, str]:
    """The names of the kernels that a stage computes with, for its folder."""
    found = {"decode_kernel": library.in_use()}
    return found | ({"cuda_kernels": choice.in_use_on_cuda()} if hub.device().type == "cuda" else {})


def keep_kernels(old: Mapping[str, Any]) -> None:
    """Compute with the kernels that the stage began with; what began elsewhere says nothing of CUDA's."""
    library.keep(old.get("decode_kernel", library.TORCH))
    if hub.device().type == "cuda" and "cuda_kernels" in old:
        choice.keep_on_cuda(old["cuda_kernels"])


def described(place: Path | str) -> str:
    """What an input is: the fingerprint of what lies on disk, else its name on the hub."""
    return fingerprint(Path(place)) if Path(place).exists() else str(place)


def difference(old: Mapping[str, Any], new: Mapping[str, Any], inputs: Inputs) -> str:
    """Name what differs between two identities: settings with both values, inputs with where they lie."""
    changes = [
        f"{key} was {old['config'].get(key)}, is {new['config'].get(key)}"
        for key in sorted(old["config"].keys() | new["config"].keys())
        if old["config"].get(key) != new["config"].get(key)
    ]
    before, now = old["inputs"], new["inputs"]
    changes += [f"{key} is not given any more" for key in sorted(before.keys() - now.keys())]
    changes += [f"{key}={inputs[key]} is new" for key in sorted(now.keys() - before.keys())]
    changes += [
        f"{key}={inputs[key]} has other content"
        for key in sorted(now.keys() & before.keys())
        if now[key] != before[key]
    ]
    return "; ".join(changes)
