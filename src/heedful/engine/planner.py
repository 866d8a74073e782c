"""How much memory and time a stage will take: its sizes (`engine.sizes`) times costs measured in a small rehearsal.

Memory of a packed row grows linearly with its tokens and time in proportion to them, so two small sizes say what a
large one takes. Where the whole model would not fit even for that, it is rehearsed with two and four layers: both
costs are linear in layers too.
"""

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from heedful.engine import machine
from heedful.engine.rehearsal import Point, Script
from heedful.engine.sizes import Sizes, sizes_of
from heedful.errors import UserError
from heedful.nn import hub

STAGES = ("pretrain", "sft", "reward", "prefer", "rl")


@dataclass(frozen=True)
class Forecast:
    """Bytes at the peak of each phase, seconds of a step (of an iteration in `rl`), and what they come from."""

    stage: str
    parameters: int
    trained: int
    bytes_per_parameter: dict[str, int]
    peak: dict[str, int]
    seconds: dict[str, float]
    bytes_per_token: float
    sizes: Sizes

    @property
    def peak_bytes(self) -> int:
        return max(self.peak.values())

    @property
    def step_seconds(self) -> float:
        return sum(self.seconds.values())


def forecast(stage: str, settings: dict[str, Any], *, model: str) -> Forecast:
    """Predict peak memory and time of a stage. `settings` are the stage's own; data that does not exist is assumed.

    `model` is a folder or hub name of which only the configuration and the tokenizer are read.
    """
    sizes = sizes_of(stage, settings, model)
    other = settings.get("reward", model) if stage == "rl" else model
    other = other if Path(other).is_dir() else model
    parameters, body = count(model), count(other)
    apart = stage == "rl" and settings["advantage"] == "gae" and settings["critic"] != "shared"
    critic = body if apart else 0
    trained = parameters + critic
    each = bytes_per_parameter(settings)
    held = trained * sum(each.values()) + (4 * (parameters + body) if stage == "rl" else 0)
    whole = held < 0.3 * machine.memory()
    script = Script(
        stage=stage,
        settings=settings,
        model=model,
        reward=other,
        layers=None,
        shapes=sizes.shapes,
        sizes=phases(stage, sizes),
    )
    scripts = [script] if whole else [replace(script, layers=n) for n in (2, 4)]
    points = [point for each in scripts for point in played(each)]
    layers = hub.read_config(model).get_text_config().num_hidden_layers
    largest = {"train": sizes.row, "score": sizes.scored, "sample": sizes.answer, "optimize": 1}
    found = {phase: memory_line(points, phase) for phase in script.sizes}
    return Forecast(
        stage=stage,
        parameters=parameters,
        trained=trained,
        bytes_per_parameter=each,
        peak={p: round(found[p].at(layers, largest[p])) for p in found if p != "optimize"},
        seconds=step_seconds(sizes, time_lines(points), layers),
        bytes_per_token=found["train"].slope(layers),
        sizes=sizes,
    )


def bytes_per_parameter(settings: dict[str, Any]) -> dict[str, int]:
    """What is held of every parameter that is trained; a weight in bf16 has its master in fp32."""
    return {
        "weights": 6 if settings["precision"] == "bf16" else 4,
        "gradients": 4,
        "optimiser": 2 if settings["optimizer"] == "adamw_8bit" else 8,
    }


def count(model: str) -> int:
    """Parameters of the model in `model`, without its weights."""
    with torch.device("meta"):
        made = AutoModelForCausalLM.from_config(hub.read_config(model))
    return sum(p.numel() for p in made.parameters())


def phases(stage: str, sizes: Sizes) -> dict[str, list[int]]:
    """Small sizes at which each phase is measured, in the order in which a stage runs them."""
    found = {"score": small(sizes.scored), "train": small(sizes.row), "optimize": [1]}
    if stage == "rl":
        found = {"sample": small(sizes.answer, least=16, apart=4), **found}
    return found


def small(size: int, least: int = 1024, apart: int = 2) -> list[int]:
    """Two sizes that are cheap and still say what `size` takes."""
    upper = min(size, max(least * 2, size // 4))
    return [max(1, upper // apart), upper]


def played(script: Script) -> list[Point]:
    """Play a script in a process of its own; UserError says why it did not come to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "heedful.engine.rehearsal"],
        input=json.dumps(asdict(script)),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        why = done.stderr.strip().splitlines() or [f"killed by signal {-done.returncode}: too little memory?"]
        raise UserError(f"the rehearsal of {script.stage} failed: {why[-1]}")
    return [Point(**json.loads(row)) for row in done.stdout.splitlines()]


@dataclass(frozen=True)
class Line:
    """A cost that is linear in tokens and in layers: a + b L + (c + d L) T."""

    a: float
    b: float
    c: float
    d: float

    def at(self, layers: int, size: float) -> float:
        return self.a + self.b * layers + self.slope(layers) * size

    def slope(self, layers: int) -> float:
        return self.c + self.d * layers


NOTHING = Line(0.0, 0.0, 0.0, 0.0)


def memory_line(points: Iterable[Point], phase: str) -> Line:
    """The peak of a phase as a line through its points."""
    mine = [p for p in points if p.phase == phase]
    return fitted(mine, [float(p.peak) for p in mine], growing=len({p.size for p in mine}) > 1)


def time_lines(points: Sequence[Point]) -> dict[str, Line]:
    """Seconds of every phase: an update takes what it takes, the rest of a step is in proportion to its tokens.

    Time is measured on a machine that others use too: of two small sizes, a line with a free beginning would say of a
    large one what chance says. Sampling begins with the prompts and is measured over a wider range.
    """

    def seconds(phase: str, update: Line = NOTHING, **how: bool) -> Line:
        mine = [p for p in points if p.phase == phase]
        return fitted(mine, [max(p.seconds - update.at(p.layers, 1), 0.0) for p in mine], **how)

    found = {"optimize": seconds("optimize", growing=False)}
    found["train"] = seconds("train", found["optimize"], fixed=False)
    found["score"] = seconds("score", fixed=False)
    return found | ({"sample": seconds("sample")} if any(p.phase == "sample" for p in points) else {})


def fitted(
    points: Sequence[Point], values: Sequence[float], *, fixed: bool = True, growing: bool = True
) -> Line:
    """The line nearest to values at these points, with a part that is `fixed` and one that grows with tokens."""
    layered = len({p.layers for p in points}) > 1
    basis: dict[str, list[float]] = {}
    for names, there, size in (("ab", fixed, [1] * len(points)), ("cd", growing, [p.size for p in points])):
        if there:
            basis[names[0]] = [float(n) for n in size]
        if there and layered:
            basis[names[1]] = [float(p.layers * n) for p, n in zip(points, size, strict=True)]
    x, *_ = np.linalg.lstsq(np.array(list(basis.values())).T, np.array(values), rcond=None)
    return replace(NOTHING, **dict(zip(basis, map(float, x), strict=True)))


def step_seconds(sizes: Sizes, costs: dict[str, Line], layers: int) -> dict[str, float]:
    """Seconds of one step of a stage by phase."""
    update = costs["optimize"].at(layers, 1)
    learn = costs["train"].at(layers, sizes.step)
    if "sample" not in costs:
        return {"train": learn + update}
    return {
        "sample": costs["sample"].at(layers, sizes.answer) * sizes.waves,
        "score": costs["score"].at(layers, sizes.step),
        "train": learn * sizes.epochs + update * sizes.updates,
    }
