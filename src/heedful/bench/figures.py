"""Measurements -> figures: medians with their spread, ratios with intervals, shares of what could be reached."""

import itertools
import math
from collections.abc import Callable, Sequence
from statistics import mean, median, stdev
from typing import Any

from scipy import stats

from heedful.bench import data
from heedful.bench.models import SHAPES
from heedful.bench.run import CEILING, OURS, Measurement, Task, by_task
from heedful.bench.works import EXAMPLES, GROWTH, WORKS

Figure = dict[str, Any]
TRAINED = ("sft", "reward", "dpo")


def figures(measurements: Sequence[Measurement], *, precision: str, seed: int) -> dict[str, Figure]:
    """All figures under the names "bench/WORK-MODEL/NAME"; what was not measured is left out."""
    grouped = dict(by_task(measurements))
    ceilings = [m for m in measurements if m.task.work == CEILING]
    top = best(ceilings) if ceilings else {}
    found = {
        f"bench/ceiling/{name}": figure([m.notes[f"{name}/flops"] for m in ceilings], "FLOP/s")
        for name in ("fp32", "bf16")
        if ceilings
    }
    for task, taken in grouped.items():
        if task.rival is None and task.work in GROWTH:
            found |= grown(task.work, taken)
        if task.rival is None and task.work in WORKS:
            found |= compared(task, taken, grouped)
        limit = top.get(f"{precision}/decode/{task.model}")
        if task.side == OURS and task.work == "sampling" and limit:
            found[f"{place(task)}/share_of_floor"] = figure([m.rate / limit for m in taken], "share")
        limit = top.get(f"{precision}/flops")
        if task.work in TRAINED and limit:
            name = "mfu" if task.side == OURS else f"{task.side}_mfu"
            shares = [flops(m, seed) / m.seconds / limit for m in taken]
            found[f"{place(task)}/{name}"] = figure(shares, "share")
    return found


def place(task: Task) -> str:
    """Where the figures of a task stand."""
    return f"bench/{task.work}-{task.model}"


def best(measurements: Sequence[Measurement]) -> dict[str, float]:
    """The highest value of each note: what was reached once is possible."""
    return {key: max(m.notes[key] for m in measurements) for key in measurements[0].notes}


def figure(values: Sequence[float], unit: str) -> Figure:
    """A median with the lowest and highest value."""
    return {
        "value": median(values),
        "low": min(values),
        "high": max(values),
        "n": len(values),
        "unit": unit,
    }


def compared(
    task: Task, ours: Sequence[Measurement], grouped: dict[Task, list[Measurement]]
) -> dict[str, Figure]:
    """Our rate and memory, each rival's, and how many times theirs ours is."""
    unit = WORKS[task.work].unit
    here = place(task)
    found = {
        f"{here}/ours": figure([m.rate for m in ours], unit),
        f"{here}/memory": figure([float(m.peak_memory_bytes) for m in ours], "bytes"),
    }
    for rival in WORKS[task.work].rivals:
        theirs = grouped.get(Task(task.work, task.model, rival), [])
        if not theirs:
            continue
        found[f"{here}/{rival.name}"] = figure([m.rate for m in theirs], unit)
        found[f"{here}/{rival.name}_memory"] = figure([float(m.peak_memory_bytes) for m in theirs], "bytes")
        found[f"{here}/ratio_vs_{rival.name}"] = ratio(ours, theirs, lambda m: m.rate)
        found[f"{here}/memory_vs_{rival.name}"] = ratio(ours, theirs, lambda m: m.peak_memory_bytes)
        for note in ("loss", "grad_norm"):
            if note in theirs[0].notes and task.work != "grpo":  # whose samples are its own
                gap = abs(ours[0].notes[note] - theirs[0].notes[note])
                found[f"{here}/{note}_gap_to_{rival.name}"] = figure([gap], "difference")
    return found


def ratio(
    ours: Sequence[Measurement], theirs: Sequence[Measurement], of: Callable[[Measurement], float]
) -> Figure:
    """The median of the ratios of neighbouring measurements, with the 95 % t-interval of their logarithms' mean."""
    by_repeat = {m.repeat: m for m in theirs}
    pairs = [(of(m), of(by_repeat[m.repeat])) for m in ours if m.repeat in by_repeat]
    logs = [math.log(a / b) for a, b in pairs]
    found = {"value": math.exp(median(logs)), "low": None, "high": None, "n": len(logs), "unit": "times"}
    if len(logs) > 1:
        reach = float(stats.t.ppf(0.975, len(logs) - 1)) * stdev(logs) / math.sqrt(len(logs))
        found["low"], found["high"] = (math.exp(mean(logs) + sign * reach) for sign in (-1, 1))
    return found


def flops(measurement: Measurement, seed: int) -> float:
    """The operations that the measured steps needed."""
    task = measurement.task
    shape, work = SHAPES[task.model], WORKS[task.work]
    examples = itertools.cycle(data.examples(EXAMPLES, shape.vocabulary, seed))
    taken = itertools.islice(
        examples, work.batch, work.batch + round(measurement.samples)
    )  # after the warm-up
    return data.needed_flops(shape, list(taken), task.work)


def grown(work: str, measurements: Sequence[Measurement]) -> dict[str, Figure]:
    """Microseconds a token at each size, and the largest size's as a multiple of the smallest's."""
    sizes = list(measurements[0].notes)
    found = {
        f"bench/{work}/{size}": figure([1e6 * m.notes[size] for m in measurements], "us/token")
        for size in sizes
    }
    growth = [m.notes[sizes[-1]] / m.notes[sizes[0]] for m in measurements]
    return found | {f"bench/{work}/growth": figure(growth, "times")}
