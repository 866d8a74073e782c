"""Every measurement in a process of its own, all sides in turn, again and again."""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from heedful.bench import data, environment, models
from heedful.bench.config import BenchConfig
from heedful.bench.peers.job import Job, Lap
from heedful.bench.works import EXAMPLES, GROWTH, WORKS, Rival
from heedful.engine import machine, terminal

OURS = "ours"
CEILING = "ceiling"
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Task:
    """A job and who does it: `rival` is None for us."""

    work: str
    model: str
    rival: Rival | None = None

    @property
    def side(self) -> str:
        return self.rival.name if self.rival else OURS


@dataclass(frozen=True)
class Measurement:
    """What one process measured; `laps` is empty and `notes` hold figures where no steps are taken."""

    task: Task
    repeat: int
    laps: tuple[Lap, ...]
    peak_memory_bytes: int
    notes: dict[str, float]
    wall: float

    @property
    def seconds(self) -> float:
        return sum(lap.seconds for lap in self.laps)

    @property
    def samples(self) -> float:
        return sum(lap.samples for lap in self.laps)

    @property
    def rate(self) -> float:
        """What the work counts, a second."""
        tokens = WORKS[self.task.work].unit == "tokens/s"
        return (sum(lap.tokens for lap in self.laps) if tokens else self.samples) / self.seconds


@dataclass(frozen=True)
class Failure:
    """A process that came to no result, and its last words."""

    task: Task
    why: str


def tasks(config: BenchConfig) -> list[Task]:
    """What is measured in one round: a work's sides stand next to each other."""
    found = [Task(CEILING, "T")]
    for work in config.only:
        if work in GROWTH:
            found.append(Task(work, "T"))
            continue
        for model in config.models:
            found += [Task(work, model), *(Task(work, model, rival) for rival in WORKS[work].rivals)]
    return found


def measure(config: BenchConfig, threads: int) -> tuple[list[Measurement], list[Failure]]:
    """Run every task `repeats` times; one that failed is not tried again."""
    chosen = tasks(config)
    needed = {(t.rival.library, t.rival.version) for t in chosen if t.rival}
    pythons = {each: environment.python(config.place, *each) for each in sorted(needed)}
    done: list[Measurement] = []
    failed: list[Failure] = []
    total = len(chosen) * config.repeats
    with TemporaryDirectory() as name, terminal.progress("bench", total) as advance:
        folder = Path(name)
        prepare(folder, {t.model for t in chosen}, config.seed)
        for number, (repeat, task) in enumerate((r, t) for r in range(config.repeats) for t in chosen):
            advance(number, f"{task.work} {task.model} {task.side}")
            if any(f.task == task for f in failed):
                continue
            result = one(task, repeat, folder, config, pythons, environment.variables(threads))
            done += [result] if isinstance(result, Measurement) else []
            failed += [result] if isinstance(result, Failure) else []
    return done, failed


def prepare(folder: Path, names: set[str], seed: int) -> None:
    """Write each model with its data."""
    for name in sorted(names):
        shape = models.SHAPES[name]
        (folder / name).mkdir()
        models.write(folder / name, shape, seed)
        found = data.examples(EXAMPLES, shape.vocabulary, seed)
        (folder / name / "data.json").write_text(json.dumps(found))


def one(
    task: Task,
    repeat: int,
    folder: Path,
    config: BenchConfig,
    pythons: dict[tuple[str, str], Path],
    env: dict[str, str],
) -> Measurement | Failure:
    """Run one task in a process of its own."""
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    job = job_of(task, folder / task.model, result, config, seed=config.seed + repeat)
    (folder / "job.json").write_text(json.dumps(dataclasses.asdict(job)))
    if task.rival is None:
        command = [sys.executable, "-m", "heedful.bench.ours"]
    else:
        command = [str(pythons[task.rival.library, task.rival.version]), "-m", f"peers.{task.rival.module}"]
        env = env | {"PYTHONPATH": str(HERE)}
    began = time.perf_counter()
    ended = subprocess.run([*command, str(folder / "job.json")], env=env, capture_output=True, text=True)
    if ended.returncode or not result.is_file():
        return Failure(task, (ended.stderr.strip().splitlines() or ["it said nothing"])[-1])
    answer: dict[str, Any] = json.loads(result.read_text())
    return Measurement(
        task,
        repeat,
        tuple(Lap(**lap) for lap in answer["laps"]),
        answer["peak_memory_bytes"],
        answer["notes"],
        time.perf_counter() - began,
    )


def job_of(task: Task, folder: Path, result: Path, config: BenchConfig, *, seed: int) -> Job:
    """What the process of a task is told."""
    shared: dict[str, Any] = {"work": task.work, "folder": str(folder), "result": str(result), "seed": seed}
    precision = (task.rival and task.rival.precision) or config.precision
    if task.work not in WORKS:
        return Job(**shared, precision=precision, batch=1)
    work = WORKS[task.work]
    return Job(
        **shared,
        precision=precision,
        batch=work.batch,
        samples=work.samples,
        max_completion_length=work.max_completion_length,
        least=work.least,
        seconds=config.seconds,
    )


def by_task(measurements: Sequence[Measurement]) -> Iterator[tuple[Task, list[Measurement]]]:
    """The measurements of each task, in the order of their repeats."""
    for task in dict.fromkeys(m.task for m in measurements):
        yield task, [m for m in measurements if m.task == task]


def thread_count(config: BenchConfig) -> int:
    """The threads of every worker."""
    return config.threads or machine.cores()
