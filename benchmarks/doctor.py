"""Whether `heedful doctor` is right: what it forecasts of a stage beside what the stage then takes.

    python benchmarks/doctor.py [--models A,B] [--stages sft,...] [--precisions fp32,bf16] [--optimizers adamw,...]
                                [--work DIR] [--out FILE] [--again]

For each stage the verb `doctor` is asked first; then the stage itself runs for a few steps, in a process of its own.
The models are the benchmark's (`heedful bench`), with answers that do not end before they must, since that is what a
forecast of `rl` assumes; the examples are its heavy-tailed ones. Memory is the process's peak, time that of an average
step (in `rl`: iteration) at the rate of the fastest after the first: what else the machine does only adds. Writes
benchmarks/doctor.json after every stage, does not do again what is there, and prints Markdown.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PLACE = Path(__file__).parent
STAGES = ("sft", "reward", "prefer", "rl", "pretrain")
STEPS = 4
TOKENS = {"A": 8192, "B": 4096}
"""Tokens of a step and of its row."""
ROWS: dict[str, tuple[int, Callable[..., Any]]] = {
    "sft": (1, lambda asked, _, *a: {"messages": [*asked, {"role": "assistant", "content": a[0]}]}),
    "reward": (6, lambda asked, _, *a: {"prompt": asked, "answers": a, "ranking": list(range(len(a)))}),
    "prefer": (2, lambda asked, _, *a: {"prompt": asked, "chosen": a[0], "rejected": a[1]}),
    "pretrain": (1, lambda _, prompt, *a: {"text": f"{prompt} {a[0]}"}),
}
"""How many answers of an example a stage reads, and its line in the data."""
RL = {"prompts_per_step": 16, "iterations": 3, "max_completion_length": 64, "kl_target": "null"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="A,B")
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--precisions", default="fp32,bf16")
    parser.add_argument("--optimizers", default="adamw")
    parser.add_argument("--work", type=Path, default=Path("runs/doctor"))
    parser.add_argument("--out", type=Path, default=PLACE / "doctor.json")
    parser.add_argument("--again", action="store_true", help="measure what is there already")
    args = parser.parse_args()
    found: dict[str, Any] = json.loads(args.out.read_text()) if args.out.is_file() else {}
    lists = (args.models, args.stages, args.optimizers, args.precisions)
    for cell in itertools.product(*(text.split(",") for text in lists)):
        name = "/".join(cell)
        if name not in found or args.again:
            found[name] = measured(args.work.resolve(), *cell)
            args.out.write_text(json.dumps(found, indent=1) + "\n")
            print(line(name, found[name]), flush=True)
    print("\n".join(["", *table(found)]))


def measured(work: Path, model: str, stage: str, optimizer: str, precision: str) -> dict[str, Any]:
    """Forecast and truth of one stage."""
    if not (work / model / "ready").is_file():
        played(work, "write", str(work / model), model)
    folder = work / "runs" / f"{model}-{stage}-{optimizer}-{precision}"
    words = settings(work / model, stage) | {"optimizer": optimizer, "precision": precision}
    words |= {"output": str(folder), "resume": "false"}
    shutil.rmtree(work / "cache" / "reference", ignore_errors=True)
    given = [f"{name}={value}" for name, value in words.items()]
    asked = told(work, [sys.executable, "-m", "heedful", "doctor", "--stage", stage, "--json", *given])
    taken = played(work, "run", stage, *given)
    shutil.rmtree(folder)
    return {
        "forecast_bytes": asked["peak_memory_bytes"],
        "bytes": taken["bytes"],
        "forecast_seconds": asked["seconds_per_step"],
        "seconds": taken["seconds"],
        "peak": asked["peak"],
        "parts": asked["seconds"],
        "threads": taken["threads"],
        "cpu_share": taken["cpu_share"],
    }


def settings(folder: Path, stage: str) -> dict[str, Any]:
    """The settings of a stage's few steps."""
    name = folder.name
    if stage == "rl":
        given = {"model": folder / "model", "reward": folder / "reward", "prompts": folder / "prompts.jsonl"}
        return {**given, **RL}
    data = folder / f"{stage}.jsonl"
    given = {"data": data, "tokens_per_step": TOKENS[name], "token_budget": TOKENS[name]}
    if stage != "pretrain":
        return {**given, "model": folder / "model"}
    shape = {"A": (288, 6, 6), "B": (512, 8, 8)}[name]
    sizes = dict(zip(("hidden_size", "layers", "heads"), shape, strict=True))
    return {**given, "heldout": data, "tokenizer": folder / "model", **sizes}


def played(work: Path, *words: str) -> dict[str, Any]:
    """What a process of this program answers."""
    return told(work, [sys.executable, __file__, "--play", *words])


def told(work: Path, command: list[str]) -> dict[str, Any]:
    """The JSON that a program prints last."""
    env = {**os.environ, "HEEDFUL_CACHE": str(work / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return answer


def write(place: str, name: str) -> dict[str, Any]:
    """Models and data: as many examples as `STEPS` steps take."""
    from heedful.bench import data, models
    from heedful.bench.peers.job import words
    from heedful.nn import hub

    folder, shape = Path(place), models.SHAPES[name]
    tokenizer = models.new_tokenizer(shape.vocabulary)
    policy = models.new_model(shape, 0, mean_length=1e6)
    hub.save_model(folder / "model", policy, tokenizer)
    hub.save_model(folder / "reward", hub.scorer_from(policy, seed=0), tokenizer)
    texts = [
        (words(e["prompt"]), [words(a[:-1]) for a in e["answers"]])
        for e in data.examples(1024, shape.vocabulary, 0)
    ]
    asked = [[{"role": "user", "content": prompt}] for prompt, _ in texts]
    for stage, (answers, row) in ROWS.items():
        made, room = [], (STEPS + 0.9) * TOKENS[name]
        for (prompt, given), messages in zip(texts, asked, strict=True):
            room -= len(" ".join([prompt, *given[:answers]]).split())
            made.append(json.dumps(row(messages, prompt, *given)))
            if room < 0:
                break
        (folder / f"{stage}.jsonl").write_text("\n".join(made))
    prompts = [json.dumps({"messages": messages}) for messages in asked[:64]]
    (folder / "prompts.jsonl").write_text("\n".join(prompts))
    (folder / "ready").touch()
    return {}


def run(stage: str, *words: str) -> dict[str, Any]:
    """Run a stage as its verb does, and look at the clock after every step."""
    from heedful.engine import allocator

    allocator.keep_heap()
    from importlib import import_module

    import torch

    from heedful import settings as parsed
    from heedful.cli import config_name
    from heedful.engine import process
    from heedful.engine.stage import Stage

    process.prepare()
    module = import_module(f"heedful.stages.{stage}")
    config = parsed.build(getattr(module, config_name(stage)), parsed.parse(list(words)), what=stage)
    each = config.num_ppo_epochs * config.num_mini_batches if stage == "rl" else 1
    laps: list[tuple[float, float, int]] = []
    plain = Stage.steps

    def steps(self: Stage, *args: Any, **keywords: Any) -> Iterator[Any]:
        tokens = 0
        for number, step in enumerate(plain(self, *args, **keywords)):
            tokens += step.tokens
            if (number + 1) % each == 0:
                laps.append((time.perf_counter(), time.process_time(), tokens))
            yield step

    Stage.steps = steps  # type: ignore[method-assign]
    module.main(config)
    walls, busy, tokens = ([b - a for a, b in itertools.pairwise(row)] for row in zip(*laps, strict=True))
    threads = torch.get_num_threads()
    return {
        "bytes": process.peak_memory_bytes(),
        "seconds": min(wall / n for wall, n in zip(walls, tokens, strict=True)) * laps[-1][2] / len(laps),
        "threads": threads,
        "cpu_share": round(sum(busy) / sum(walls) / threads, 3),
    }


def line(name: str, cell: dict[str, Any]) -> str:
    """A row of the table."""
    held, took = (
        f"{cell[f'forecast_{what}'] / unit:.2f} / {cell[what] / unit:.2f} | {cell[f'forecast_{what}'] / cell[what]:.2f}"
        for what, unit in (("bytes", 1e9), ("seconds", 1))
    )
    return f"| {' | '.join(name.split('/'))} | {held} | {took} |"


def table(found: dict[str, Any]) -> list[str]:
    """Markdown."""
    head = "| model | stage | optimizer | precision | memory, GB | ratio | seconds a step | ratio |"
    return [head, "|" + "---|" * 8, *(line(name, cell) for name, cell in found.items())]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--play"]:
        what, *rest = sys.argv[2:]
        print(json.dumps({"write": write, "run": run}[what](*map(str, rest))))  # type: ignore[operator]
    else:
        main()
