"""`heedful bench`: measure, write summary.json and speed.svg, print the table and what changed."""

import json
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from statistics import median
from typing import Any

import typer

from heedful.bench import show
from heedful.bench.config import BenchConfig
from heedful.bench.figures import figures
from heedful.bench.run import OURS, Failure, Measurement, measure, thread_count
from heedful.bench.works import TORCHTUNE, TRL, TRL_WITH_PPO
from heedful.data import atomic
from heedful.engine import record, terminal
from heedful.errors import UserError

BUSY = 0.9
"""Below this share of the threads' time the machine had other things to do."""


def main(config: BenchConfig) -> dict[str, Any]:
    """Measure and tell; raises UserError at the end where a side came to no result."""
    old = read_summary(config)
    began = time.perf_counter()
    threads = thread_count(config)
    done, failed = measure(config, threads)
    summary = summarised(config, threads, done) | {"wall_seconds": round(time.perf_counter() - began, 1)}
    config.output.mkdir(parents=True, exist_ok=True)
    atomic.write_json(config.output / "summary.json", summary)
    atomic.write_text(config.output / "speed.svg", show.picture(summary["figures"]))
    typer.echo(show.table(summary["figures"]))
    typer.echo(
        f"\n{threads} threads, {config.precision}, {config.repeats} repeats; {config.output}/summary.json"
    )
    if old is not None:
        typer.echo(f"\nSince {config.compare}:\n{show.changes(old, summary)}")
    if (share := summary["cpu_share"]) is not None and share < BUSY:
        terminal.say(f"the machine was busy: ours got {share:.0%} of one thread's time, so figures are rough")
    if failed:
        raise UserError(failures(failed))
    return summary


def read_summary(config: BenchConfig) -> dict[str, Any] | None:
    """The earlier summary to compare with, read before anything is measured."""
    if config.compare is None:
        return None
    try:
        found: dict[str, Any] = json.loads(config.compare.read_text(encoding="utf-8"))
        found["figures"].items()
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(
            f"'{config.compare}' is no summary of a benchmark: give the summary.json that an earlier run wrote"
        ) from error
    return found


def summarised(config: BenchConfig, threads: int, done: Sequence[Measurement]) -> dict[str, Any]:
    """The summary in the shape that every summary of ours has."""
    ours = [m for m in done if m.task.side == OURS]
    seconds: dict[str, float] = {}
    for m in done:
        seconds[m.task.work] = round(seconds.get(m.task.work, 0.0) + m.wall, 1)
    shares = [sum(lap.cpu for lap in m.laps) / m.seconds for m in ours if m.laps]
    return {
        "command": record.command(),
        "seed": config.seed,
        "commit": record.commit(),
        "device": platform.processor() or platform.machine(),
        "threads": threads,
        "precision": config.precision,
        "repeats": config.repeats,
        "versions": {
            "torch": version("torch"),
            "transformers": version("transformers"),
            "trl": TRL,
            "trl_ppo": TRL_WITH_PPO,
            "torchtune": TORCHTUNE,
        },
        "seconds": seconds,
        "cpu_share": round(median(shares), 3) if shares else None,
        "peak_memory_bytes": max((m.peak_memory_bytes for m in ours if m.laps), default=0),
        "figures": figures(done, precision=config.precision, seed=config.seed),
    }


def failures(failed: Sequence[Failure]) -> str:
    """Who came to no result, in one sentence."""
    parts = [f"{f.task.work} {f.task.model} by {f.task.side} ({f.why})" for f in failed]
    return f"{len(failed)} measurements came to no result: {'; '.join(parts)}"
