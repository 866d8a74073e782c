"""Alignment without reinforcement learning, method beside method: the same data, the same start, one table.

    python benchmarks/preference.py RUN [RUN ...] [--prompts 240] [--test 200] [--only dpo,c_rlft] [--rl]
    python benchmarks/preference.py --model DIR --data PAIRS [--prompts 200]
    python benchmarks/preference.py --show

RUN is the folder of a demo that has come as far as its judgements (`heedful demo skip=[rl,prefer]`), one a seed;
`--rl` also measures the policy in its `round-1/rl`. Every method sees the judgements of the same prompts once and is
measured on the same test prompts by the world's gold judge, one answer a prompt at temperature 1, against the SFT
policy that it started from. With `--model` and `--data` every loss learns from real pairs, and what they themselves
can tell is measured: accuracy and drift on held-out prompts. Seconds are the processor's. Writes
benchmarks/preference.json, a cell a method and run, and prints Markdown.
"""

import argparse
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from heedful.data import conditions, files, formats
from heedful.data.rows import messages_row
from heedful.engine import process
from heedful.engine.policy import Policy
from heedful.engine.sampling import Sampling
from heedful.losses import find
from heedful.stages import evaluate, prefer, sft
from heedful.tasks import judge

RESULTS = Path(__file__).with_suffix(".json")
FIGURES = ("win_rate", "heldout_accuracy", "kl", "chosen_drift", "length", "distinct", "seconds", "memory")
CONDITIONS = ("prefix", "points", "reward_tokens", "hindsight", "c_rlft")
TOKENS = 2048
MORE: dict[str, dict[str, Any]] = {
    "contrast": {"borrowed": 2},
    "dpo, borrowed": {"loss": "dpo", "borrowed": 1},
    "dpo, lora": {"loss": "dpo", "lora_r": 8, "learning_rate": 2e-3},
    "cdpo": {"loss": "dpo", "label_smoothing": 0.1},
}


def methods() -> dict[str, dict[str, Any]]:
    """What is run: every loss by its name, variants, and SFT with and without conditions."""
    losses = {name: {"loss": name, **MORE.get(name, {})} for name in find.names() if name != "soft_dpo"}
    variants = {name: values for name, values in MORE.items() if "loss" in values}
    return losses | variants | {"sft": {"condition": "none"}} | {c: {"condition": c} for c in CONDITIONS}


def subset(run: Path, prompts: int, folder: Path) -> Path:
    """The judgements of the first `prompts` prompts of a run."""
    given = formats.read_preferences(run / "round-1" / "feedback" / "preferences.jsonl")
    kept = dict.fromkeys(p.messages for p in given)
    chosen = set(list(kept)[:prompts])
    path = folder / "preferences.jsonl"
    formats.write_preferences(path, (p for p in given if p.messages in chosen))
    return path


def best_answers(data: Path, path: Path) -> Path:
    """One dialogue a prompt: the answer that won most comparisons, which SFT learns from."""
    won: dict[Any, dict[str, int]] = {}
    for p in formats.read_preferences(data):
        row = won.setdefault(p.messages, {})
        row[p.chosen] = row.get(p.chosen, 0) + 1
        row[p.rejected] = row.get(p.rejected, 0) - 1
    rows = [
        {
            "messages": [
                *messages_row(messages),
                {"role": "assistant", "content": max(row, key=lambda t: (row[t], t))},
            ]
        }
        for messages, row in won.items()
    ]
    files.write_jsonl(path, rows)
    return path


def train(
    name: str, values: dict[str, Any], start: str, data: Path, folder: Path, seed: int
) -> dict[str, Any]:
    """One method; what its stage found, with seconds and bytes."""
    process.forget_peak_memory()
    began = time.process_time()
    shared = {
        "model": start,
        "output": folder / name.replace(", ", "-"),
        "tokens_per_step": TOKENS,
        "seed": seed,
    }
    if "condition" in values:
        given = best_answers(data, folder / "best.jsonl") if values["condition"] == "none" else data
        result = sft.main(sft.SftConfig(**{**shared, "data": given, "learning_rate": 3e-4, **values}))
    else:
        result = prefer.main(prefer.PreferConfig(**{**shared, "data": data, "learning_rate": 3e-4, **values}))
    result["seconds"] = time.process_time() - began
    return {**result, "memory": process.peak_memory_bytes() / 2**20}


class Field:
    """The test prompts, and how the policy that all started from answers them."""

    def __init__(self, start: str, run: Path, test: int, seed: int) -> None:
        self.seed = seed
        self.reference = Policy.load(start)
        prompts = formats.read_prompts(run / "world" / "test_prompts.jsonl")
        self.prompts = self.reference.fitting(prompts, 48)[:test]
        self.baseline = self.answers(self.reference)

    def answers(self, policy: Policy) -> dict[str, list[float]]:
        """One value an answer of what is measured."""
        answered = policy.answer(self.prompts, Sampling(48, 1.0), seed=(self.seed, "measure"))
        table = evaluate.measured(self.prompts, answered, judge.gold, None)
        if policy is not self.reference and len(policy.tokenizer) == len(self.reference.tokenizer):
            table["kl"] = policy.kl(answered, self.reference.model)
        return table

    def figures(self, folder: Path, asked: int | None = None) -> dict[str, Any]:
        """A policy's figures beside those of the start."""
        policy = Policy.load(folder)
        if asked is not None:
            conditions.ask(policy.tokenizer, asked)
        found = evaluate.compare(self.prompts, self.answers(policy), self.baseline)
        return {name.replace("win_rate/judge/total", "win_rate"): value for name, value in found.items()}


def measure(args: argparse.Namespace, run: Path, put: Callable[[str, dict[str, Any]], None]) -> None:
    """Every method on one run."""
    start = str(run / "sft" / "model")
    seed = int(json.loads((run / "run.json").read_text())["config"].get("seed", 0))
    folder = args.work / run.name
    folder.mkdir(parents=True, exist_ok=True)
    data = subset(run, args.prompts, folder)
    field = Field(start, run, args.test, seed)
    put("start", {name: field_mean(values) for name, values in field.baseline.items()})
    if args.rl:
        put("rl", field.figures(run / "round-1" / "rl" / "model"))
    known = methods()
    for name in args.only or known:
        values = known[name]
        result = train(name, values, start, data, folder, seed)
        model = folder / name.replace(", ", "-") / "model"
        cell = {**{k: result.get(k) for k in ("heldout_accuracy", "chosen_drift", "seconds", "memory")}}
        cell |= field.figures(model)
        if "condition" in values and values["condition"] != "none":
            cell["asked"] = curve(field, model)
        put(name, cell)


def real(args: argparse.Namespace, put: Callable[[str, dict[str, Any]], None]) -> None:
    """Every loss on a model and pairs of the user's."""
    folder = args.work / Path(args.model).name
    folder.mkdir(parents=True, exist_ok=True)
    given = formats.read_preferences(args.data, limit=args.prompts)
    formats.write_preferences(folder / "preferences.jsonl", given)
    known = methods()
    for name in args.only or known:
        if "condition" not in known[name]:
            values = {**known[name], "max_length": 512, "heldout_ratio": 0.2}
            put(name, train(name, values, args.model, folder / "preferences.jsonl", folder, args.seed))


def curve(field: Field, model: Path) -> list[dict[str, Any]]:
    """What comes of asking for each quality, worst first: every criterion's mean with its interval."""
    count = len(conditions.known_to(Policy.load(model).tokenizer))
    wanted = ("judge/total", "judge/helpful", "judge/honest", "judge/harmless", "length")
    asked = (field.figures(model, level) for level in range(1, count + 1))
    return [{name: found[name] for name in wanted} for found in asked]


def field_mean(values: list[float]) -> dict[str, Any]:
    return evaluate.mean(values)


def shown(value: Any) -> str:
    """A figure with its interval, or what it is without one."""
    if value is None:
        return "-"
    if not isinstance(value, dict):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.0f}"
    if value["value"] is None:
        return "-"
    if value.get("low") is None:
        return f"{value['value']:.3f}"
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def markdown(cells: dict[str, dict[str, Any]]) -> str:
    """The table of one run, and the curves of what was asked for."""
    lines = ["| method | " + " | ".join(FIGURES) + " |", "|---|" + "---|" * len(FIGURES)]
    for name in ("start", "rl", *methods()):
        cell = cells.get(name)
        row = [shown(cell.get(f)) for f in FIGURES] if cell else ["not measured", *[""] * (len(FIGURES) - 1)]
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    for name in CONDITIONS:
        for level, row in enumerate(cells.get(name, {}).get("asked", []), 1):
            if level == 1:
                lines += ["", f"| {name}: asked for | " + " | ".join(row) + " |", "|---|" + "---|" * len(row)]
            lines.append(f"| {level} | " + " | ".join(shown(v) for v in row.values()) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--prompts", type=int, default=240)
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[])
    parser.add_argument("--work", type=Path, default=Path("runs/preference"))
    parser.add_argument("--rl", action="store_true")
    parser.add_argument("--model", default="")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true")
    args = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    how = {"commit": commit, "prompts": args.prompts, "test": args.test, "threads": torch.get_num_threads()}

    def putter(run: str) -> Callable[[str, dict[str, Any]], None]:
        cells = results.setdefault(run, {})

        def put(name: str, cell: dict[str, Any]) -> None:
            cells[name] = {**cell, **how, "at": time.strftime("%Y-%m-%d")}
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            print(f"{run} {name}: win rate {shown(cell.get('win_rate'))}", flush=True)

        return put

    for run in args.runs:
        measure(args, run, putter(run.name))
    if args.model:
        real(args, putter(f"{Path(args.model).name} on {args.data.name}, seed {args.seed}"))
    for name, cells in results.items():
        print(f"\n{name}\n\n{markdown(cells)}")


if __name__ == "__main__":
    main()
