"""What lies in a run's folder, read and never changed; whatever is missing is left out."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heedful.errors import UserError
from heedful.types import Lang

STAGES = ("world", "tokenizer", "pretrain", "sft", "feedback", "reward", "prefer", "rl", "evaluate")
PANELS = ("panel_extract", "panel_study")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class StageRun:
    """One stage's folder. `result` is empty while the stage is unfinished; `rows` are its optimiser steps."""

    name: str
    folder: Path
    config: Mapping[str, Any]
    result: Mapping[str, Any]
    rows: tuple[Row, ...]


Stages = Mapping[str, StageRun]


@dataclass(frozen=True)
class Run:
    """A run's record (run.json), the stages that run once, and those of each round by its number.

    `panels` are the stages of panels, those outside any round under 0.
    """

    name: str
    record: Mapping[str, Any]
    once: Stages
    rounds: Mapping[int, Stages]
    panels: Mapping[int, Stages]

    @property
    def shown(self) -> int | None:
        """The round that is shown: the newest that was evaluated, else the newest."""
        evaluated = [n for n, stages in self.rounds.items() if _finished(stages, "evaluate")]
        return max(evaluated or self.rounds, default=None)

    @property
    def stages(self) -> Stages:
        """The stages that run once and those of the round that is shown."""
        return self.once if self.shown is None else {**self.once, **self.rounds[self.shown]}

    @property
    def seconds(self) -> dict[str, float]:
        """What each finished stage took, in loop order, summed over the rounds."""
        total: dict[str, float] = {}
        for name in STAGES:
            places = [self.once, *self.rounds.values()]
            spent = [p[name].result["seconds"] for p in places if _finished(p, name)]
            if spent:
                total[name] = round(math.fsum(spent), 3)
        return total

    @property
    def lang(self) -> Lang:
        """The language that the run was told to speak."""
        return "zh" if self.record.get("config", {}).get("lang") == "zh" else "en"


def _finished(stages: Stages, name: str) -> bool:
    return name in stages and "seconds" in stages[name].result


def read(folder: Path) -> Run:
    """Read a run. Raises UserError where there is none."""
    rounds, panels = {}, {0: _stages(folder, PANELS)}
    for path in folder.glob("round-*"):
        if match := re.fullmatch(r"round-(\d+)", path.name):
            panels[int(match[1])] = _stages(path, PANELS)
            if stages := _stages(path):
                rounds[int(match[1])] = stages
    once = _stages(folder)
    record = folder / "run.json"
    if not once and not rounds and not any(panels.values()) and not record.is_file():
        raise UserError(
            f"'{folder}' holds no run: give run=FOLDER that `heedful demo` or `heedful loop` wrote"
        )
    described = _json(record) if record.is_file() else {}
    return Run(folder.resolve().name, described, once, dict(sorted(rounds.items())), panels)


def _stages(folder: Path, names: Sequence[str] = STAGES) -> dict[str, StageRun]:
    return {name: _stage(name, folder / name) for name in names if (folder / name / "stage.json").is_file()}


def _stage(name: str, folder: Path) -> StageRun:
    known = _json(folder / "stage.json")
    rows = tuple(_rows(folder / "metrics.jsonl"))
    return StageRun(name, folder, known.get("identity", {}).get("config", {}), known.get("result", {}), rows)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"'{path}' is not valid JSON: run the same command again to write it anew") from error
    if not isinstance(value, dict):
        raise UserError(f"'{path}' must hold one JSON object: run the same command again to write it anew")
    return value


def _rows(path: Path) -> Iterator[Row]:
    """The rows up to the first that is cut short, as a killed run leaves one."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                return
