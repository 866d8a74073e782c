"""Alignment without reinforcement learning, method beside method: the same data, the same start, one table.

    python benchmarks/preference.py RUN [RUN ...] [--prompts 160] [--test 120] [--heldout 0.1] [--only dpo,c_rlft]
        [--out FILE] [--picture NAME]
    python benchmarks/preference.py --out FILE

RUN is the folder of a demo that has come as far as its judgements (`heedful demo skip=[rl,prefer]`), or of
`real_run.py`; one a seed. Every method sees the judgements of the same prompts once and is measured on the same test
prompts by the run's gold judge, one answer a prompt at temperature 1, against the SFT policy that it started from;
`ppo` samples four answers to as many prompts as were judged. Seconds are the processor's. Writes a cell a method and
run, and does not do again what is there; without runs it prints the table: means over runs with 95 % intervals over
their prompts.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tables import Cells, dot_plot, over_prompts, over_seeds, rows, seed_of, shown

from heedful.data import conditions, files, formats
from heedful.data.rows import messages_row
from heedful.engine import judges, process
from heedful.engine.policy import Policy
from heedful.engine.sampler import prompt_ids
from heedful.engine.sampling import Sampling
from heedful.losses import find
from heedful.stages import evaluate, prefer, reward, rl, sft
from heedful.stats.intervals import wilson

CONDITIONS = ("prefix", "points", "reward_tokens", "hindsight", "c_rlft")
TOKENS = 2048
MORE: dict[str, dict[str, Any]] = {
    "contrast": {"borrowed": 2},
    "dpo, borrowed": {"loss": "dpo", "borrowed": 1},
    "dpo, lora": {"loss": "dpo", "lora_r": 8, "learning_rate": 2e-3},
    "cdpo": {"loss": "dpo", "label_smoothing": 0.1},
}


def methods() -> dict[str, dict[str, Any]]:
    """What is run: every loss by its name, variants, SFT with and without conditions, and PPO."""
    losses = {name: {"loss": name, **MORE.get(name, {})} for name in find.names() if name != "soft_dpo"}
    variants = {name: values for name, values in MORE.items() if "loss" in values}
    conditioned = {c: {"condition": c} for c in CONDITIONS}
    return losses | variants | {"sft": {"condition": "none"}} | conditioned | {"ppo": {}}


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
    name: str,
    values: dict[str, Any],
    start: str,
    data: Path,
    folder: Path,
    field: "Field",
    heldout: float,
) -> dict[str, Any]:
    """One method; what its stage found, with seconds and bytes."""
    process.forget_peak_memory()
    began = time.process_time()
    shared = {"model": start, "output": place(folder, name), "seed": field.seed, "resume": False}
    if name == "ppo":
        return {**by_ppo(field, shared, data), **spent(began)}
    shared["tokens_per_step"] = TOKENS
    if "condition" in values:
        given = best_answers(data, folder / "best.jsonl") if values["condition"] == "none" else data
        result = sft.main(sft.SftConfig(**{**shared, "data": given, "learning_rate": 3e-4, **values}))
    else:
        more = {"data": data, "learning_rate": 3e-4, "heldout_ratio": heldout}
        result = prefer.main(prefer.PreferConfig(**{**shared, **more, **values}))
        result["heldout_accuracy"] = on_heldout(result, data)
    return {**result, **spent(began)}


def on_heldout(result: dict[str, Any], data: Path) -> dict[str, Any]:
    """The held-out accuracy with an interval over the prompts held out, as if each were wholly right or wrong."""
    asked = len({p.messages for p in formats.read_preferences(data)})
    unseen = asked - result["prompts"] - result["too_long"]
    found = wilson(result["heldout_accuracy"] * unseen, unseen)
    return {"value": found.value, "low": found.low, "high": found.high}


def place(folder: Path, name: str) -> Path:
    """Where a method's stage writes."""
    return folder / name.replace(", ", "-")


def spent(began: float) -> dict[str, float]:
    """The processor's seconds since, and the most memory in MiB."""
    return {
        "seconds": time.process_time() - began,
        "memory": process.peak_memory_bytes() / 2**20,
    }


def by_ppo(field: "Field", shared: dict[str, Any], data: Path) -> dict[str, Any]:
    """A reward model from the same judgements, then PPO with the demo's penalty: four answers to each prompt."""
    place = shared["output"]
    how = {"head": "likelihood", "epochs": 2, "learning_rate": 1e-3, "weight_decay": 1.0}
    values = {**shared, "output": place / "reward", "data": data, "tokens_per_step": TOKENS, **how}
    found = reward.main(reward.RewardConfig(**values))
    asked = len({p.messages for p in formats.read_preferences(data)})
    how = {
        "algorithm": "ppo_clip",
        "num_ppo_epochs": 1,
        "kl_coef": 0.05,
        "kl_target": 5.0,
        "kl_horizon": 2000,
    }
    more = {"iterations": asked // 16, "prompts_per_step": 16, "max_completion_length": field.length}
    prompts = field.run / "world" / "prompts.jsonl"
    rl.main(
        rl.RlConfig(
            **{**shared, **how, **more, "reward": str(place / "reward" / "model"), "prompts": prompts}
        )
    )
    return {"heldout_accuracy": found["heldout_accuracy"]}


class Field:
    """The test prompts, and how the policy that all started from answers them."""

    def __init__(self, start: str, run: Path, test: int, seed: int) -> None:
        told = json.loads((run / "run.json").read_text())
        self.run, self.seed, self.length = run, seed, int(told.get("length", 48))
        self.judge = judges.find(told.get("gold", "world"))
        self.reference = Policy.load(start)
        prompts = formats.read_prompts(run / "world" / "test_prompts.jsonl")
        self.prompts = self.reference.fitting(prompts, self.length)[:test]
        self.baseline = self.answers(self.reference)

    def answers(self, policy: Policy) -> dict[str, list[float]]:
        """One value an answer of what is measured."""
        answered = policy.answer(self.prompts, Sampling(self.length, 1.0), seed=(self.seed, "measure"))
        table = evaluate.measured(self.prompts, answered, self.judge, None)
        if policy is not self.reference:
            # The start never saw a condition: its log-probs are those behind the plain prompt.
            plain = [prompt_ids(self.reference.tokenizer, p) for p in self.prompts]
            bare = [replace(a, prompt=tuple(ids)) for a, ids in zip(answered, plain, strict=True)]
            known = len(self.reference.tokenizer)
            if all(s.ids.max(initial=0) < known for a in answered for s in a.samples):
                table["kl"] = policy.kl(bare, self.reference.model)
        return table

    def figures(self, folder: Path, asked: int | None = None) -> dict[str, Any]:
        """A policy's figures beside those of the start."""
        policy = Policy.load(folder)
        if asked is not None:
            conditions.ask(policy.tokenizer, asked)
        found = evaluate.compare(self.prompts, self.answers(policy), self.baseline)
        return {name.replace("win_rate/judge/total", "win_rate"): value for name, value in found.items()}


def measure(args: argparse.Namespace, run: Path, cells: Cells) -> None:
    """Every method on one run that is not there yet."""
    start, seed = str(run / "sft" / "model"), seed_of(run)
    folder = args.work / run.name
    folder.mkdir(parents=True, exist_ok=True)
    data = subset(run, args.prompts, folder)
    field = Field(start, run, args.test, seed)
    how = {"prompts": args.prompts, "test": args.test}
    known, done = methods(), cells.read().get(run.name, {})
    if "start" not in done:
        means = {name: evaluate.mean(values) for name, values in field.baseline.items()}
        cells.put(run.name, "start", {**means, **how})
    for name in args.only or known:
        if name in done:
            continue
        result = train(name, known[name], start, data, folder, field, args.heldout)
        model = place(folder, name) / "model"
        cell = {k: result.get(k) for k in ("heldout_accuracy", "chosen_drift", "seconds", "memory")}
        cell |= field.figures(model)
        if name in CONDITIONS and "judge/helpful" in field.baseline:
            cell["asked"] = curve(field, model)
        cells.put(run.name, name, {**cell, **how})


def curve(field: Field, model: Path) -> list[dict[str, Any]]:
    """What comes of asking for each quality, worst first: every criterion's mean with its interval."""
    count = len(conditions.known_to(Policy.load(model).tokenizer))
    wanted = ("judge/total", "judge/helpful", "judge/honest", "judge/harmless", "length")
    asked = (field.figures(model, level) for level in range(1, count + 1))
    return [{name: found[name] for name in wanted if name in found} for found in asked]


def table(cells: Cells, runs: Sequence[str]) -> Iterator[str]:
    """A row a method: means over the runs."""
    heads = ["method", "win rate against the start", "each seed", "held-out accuracy", "KL, nats"]
    heads += ["drift of chosen log-prob, nats", "length", "distinct", "CPU s", "MiB"]
    lines = []
    for name in ("start", *methods()):
        found = cells.having(name, runs)
        if not found:
            continue
        rates = [c["win_rate"]["value"] for c in found if "win_rate" in c]
        line = [name, shown(over_prompts([c.get("win_rate") for c in found]))]
        line.append(" / ".join(f"{rate:.3f}" for rate in rates) or "-")
        for key in ("heldout_accuracy", "kl", "chosen_drift", "length", "distinct", "seconds", "memory"):
            values = [c[key] for c in found if c.get(key) is not None]
            form = {"length": "{:.1f}", "seconds": "{:.1f}", "memory": "{:.0f}", "kl": "{:.2f}"}.get(
                key, "{:.3f}"
            )
            if not values:
                line.append("-")
            elif isinstance(values[0], dict):
                line.append(shown(over_prompts(values), form))
            elif key in ("seconds", "memory"):
                line.append(form.format(float(np.mean(values))))
            else:
                line.append(shown(over_seeds(values), form))
        lines.append(line)
    yield from rows(heads, lines)


def curves(cells: Cells, runs: Sequence[str]) -> Iterator[str]:
    """What comes of asking for each quality."""
    keys, lines = list[str](), []
    for name in CONDITIONS:
        found = [c["asked"] for c in cells.having(name, runs) if "asked" in c]
        for level in range(len(found[0]) if found else 0):
            keys = list(found[0][level])
            each = [shown(over_prompts([c[level][key] for c in found])) for key in keys]
            lines.append([name, str(level + 1), *each])
    if lines:
        yield from rows(["condition", "asked for", *(key.removeprefix("judge/") for key in keys)], lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--prompts", type=int, default=160)
    parser.add_argument("--test", type=int, default=120)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[])
    parser.add_argument("--work", type=Path, default=Path("runs/preference"))
    parser.add_argument("--heldout", type=float, default=0.1)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--picture", default="", help="draw docs/results/NAME.svg")
    args = parser.parse_args()
    process.prepare()
    cells = Cells(args.out)
    for run in args.runs:
        measure(args, run, cells)
    runs = list(cells.read())
    print("\n".join([*table(cells, runs), "", *curves(cells, runs)]))
    if args.picture:
        found = {m: [c["win_rate"] for c in cells.having(m, runs)] for m in methods()}
        lines = [(m, over_prompts(rates)) for m, rates in found.items() if rates]
        alt = "How often each method's answers beat those of the policy that it started from"
        dot_plot(args.picture, lines, "beats the start", alt)


if __name__ == "__main__":
    main()
