"""Alignment without reinforcement learning, method beside method: the same data, the same start, one table.

    python benchmarks/preference.py RUN [RUN ...] [--prompts 800] [--test 300] [--only dpo,c_rlft]
        [--out FILE] [--picture NAME]
    python benchmarks/preference.py --out FILE

RUN is the folder of a demo that has come as far as its judgements (`heedful demo skip=[rl,prefer]`), or of
`real_run.py`; one a seed. Every method sees the judgements of the same prompts once, without answers that were
borrowed from other prompts, and is measured on the same test prompts by the run's gold judge, one answer a prompt at
temperature 1, against the SFT policy that it started from; `ppo` samples four answers to as many prompts as were
judged. Accuracy and drift are on judged pairs of prompts that neither the start nor any method learnt from, asked for
the best where a method has conditions. Each method trains in a process of its own; seconds are the processor's.
Writes a cell a method and run, and does not do again what is there; without runs it prints the table: means over runs
with 95 % intervals over their prompts.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from judged import judgements
from numpy.typing import NDArray
from tables import Cells, dot_plot, over_prompts, rows, seed_of, shown

from heedful.data import conditions, files, formats
from heedful.data.rows import messages_row
from heedful.engine import judges, pairs, process
from heedful.engine.policy import Policy
from heedful.engine.reference import fixed_logp
from heedful.engine.sampler import prompt_ids
from heedful.engine.sampling import Sampling
from heedful.losses import find
from heedful.stages import evaluate, prefer, reward, rl, sft
from heedful.types import Preference

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


UNSEEN = 200  # judged prompts that accuracy and drift are measured on
MARKER = 16  # tokens that a condition may take


@dataclass(frozen=True)
class Given:
    """What every method is given: a start, judgements, and where it writes."""

    run: Path
    start: str
    data: Path
    folder: Path
    seed: int
    length: int


def divided(run: Path, prompts: int, folder: Path) -> tuple[Path, list[Preference]]:
    """The judgements of the first `prompts` prompts as a file, and those that nobody learns from."""
    by_prompt: dict[Any, list[Preference]] = {}
    for p in judgements(run):
        by_prompt.setdefault(p.messages, []).append(p)
    asked = list(by_prompt)
    path = folder / "preferences.jsonl"
    formats.write_preferences(path, [p for m in asked[:prompts] for p in by_prompt[m]])
    kept = run / "world" / "test.jsonl"
    if kept.exists():
        return path, list(formats.read_preferences(kept))
    return path, [p for m in asked[prompts:][:UNSEEN] for p in by_prompt[m]]


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


def train(name: str, values: dict[str, Any], given: Given) -> dict[str, float]:
    """One method, in a process that does nothing else; the processor's seconds and the most memory in MiB."""
    process.prepare()
    began = time.process_time()
    shared = {
        "model": given.start,
        "output": place(given.folder, name),
        "seed": given.seed,
        "resume": False,
    }
    if name == "ppo":
        by_ppo(given, shared)
    elif "condition" in values:
        best = values["condition"] == "none"
        data = best_answers(given.data, given.folder / "best.jsonl") if best else given.data
        how = {"data": data, "tokens_per_step": TOKENS, "learning_rate": 3e-4}
        sft.main(sft.SftConfig(**{**shared, **how, **values}))
    else:
        how = {"data": given.data, "tokens_per_step": TOKENS, "learning_rate": 3e-4}
        prefer.main(prefer.PreferConfig(**{**shared, **how, **values}))
    return {"seconds": time.process_time() - began, "memory": process.peak_memory_bytes() / 2**20}


def place(folder: Path, name: str) -> Path:
    """Where a method's stage writes."""
    return folder / name.replace(", ", "-")


def by_ppo(given: Given, shared: dict[str, Any]) -> None:
    """A reward model from the same judgements, then PPO with the demo's penalty: four answers to each prompt."""
    output = shared["output"]
    how: dict[str, Any] = {"head": "likelihood", "epochs": 2, "learning_rate": 1e-3, "weight_decay": 1.0}
    how |= {"output": output / "reward", "data": given.data, "tokens_per_step": TOKENS}
    reward.main(reward.RewardConfig(**{**shared, **how}))
    asked = len({p.messages for p in formats.read_preferences(given.data)})
    how = {
        "algorithm": "ppo_clip",
        "num_ppo_epochs": 1,
        "kl_coef": 0.05,
        "kl_target": 5.0,
        "kl_horizon": 2000,
    }
    how |= {"iterations": asked // 16, "prompts_per_step": 16, "max_completion_length": given.length}
    how |= {
        "reward": str(output / "reward" / "model"),
        "prompts": given.run / "world" / "prompts.jsonl",
    }
    rl.main(rl.RlConfig(**{**shared, **how}))


class Field:
    """The test prompts and unseen pairs, and what the policy that all started from makes of them."""

    def __init__(self, start: str, run: Path, test: int, unseen: Sequence[Preference]) -> None:
        told = json.loads((run / "run.json").read_text())
        self.seed, self.length = seed_of(run), int(told.get("length", 48))
        self.judge = judges.find(told.get("gold", "world"))
        self.reference = Policy.load(start)
        prompts = formats.read_prompts(run / "world" / "test_prompts.jsonl")
        self.prompts = self.reference.fitting(prompts, self.length)[:test]
        self.limit = int(self.reference.model.config.max_position_embeddings)
        self.unseen = [p for p in unseen if pairs.fits(self.reference.tokenizer, p, self.limit - MARKER)]
        self.baseline = self.answers(self.reference)
        self.before = self.logp(self.reference)

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

    def logp(self, policy: Policy) -> list[NDArray[np.float64]]:
        """The log-probs of the chosen and the rejected answer of every unseen pair, [pairs, 2] for each prompt."""
        trees = pairs.compared(policy.tokenizer, self.unseen, self.limit).trees
        summed = [[float(logp.sum()) for logp in each] for each in fixed_logp(policy.model, trees, None)]
        return [
            np.asarray([(logp[p.chosen], logp[p.rejected]) for p in tree.pairs])
            for tree, logp in zip(trees, summed, strict=True)
        ]

    def told_apart(self, policy: Policy) -> dict[str, Any]:
        """On unseen pairs, a prompt weighing 1: how often the chosen answer is likelier, and gained more; its gain."""
        after = self.before if policy is self.reference else self.logp(policy)
        gained = [b - a for a, b in zip(self.before, after, strict=True)]
        found = {"likelier": evaluate.mean([wins(x) for x in after])}
        if policy is self.reference:
            return found
        drift = [float(x[:, 0].mean()) for x in gained]
        return found | {"accuracy": evaluate.mean([wins(x) for x in gained]), "drift": evaluate.mean(drift)}

    def figures(self, folder: Path, asked: int | None = None) -> dict[str, Any]:
        """A policy's figures beside those of the start."""
        policy = Policy.load(folder)
        if asked is not None:
            conditions.ask(policy.tokenizer, asked)
        found = evaluate.compare(self.prompts, self.answers(policy), self.baseline)
        if asked is None:
            found |= self.told_apart(policy)
        return {name.replace("win_rate/judge/total", "win_rate"): value for name, value in found.items()}


def wins(values: NDArray[np.float64]) -> float:
    """The share of pairs, [pairs, 2], whose first value is the larger; a tie is half."""
    return float(np.mean(0.5 + 0.5 * np.sign(values[:, 0] - values[:, 1])))


def measure(args: argparse.Namespace, run: Path, cells: Cells) -> None:
    """Every method on one run that is not there yet."""
    folder = args.work / run.name
    folder.mkdir(parents=True, exist_ok=True)
    data, unseen = divided(run, args.prompts, folder)
    start = str(run / "sft" / "model")
    field = Field(start, run, args.test, unseen)
    given = Given(run, start, data, folder, field.seed, field.length)
    how = {"prompts": args.prompts, "test": args.test, "pairs": len(field.unseen)}
    known, done = methods(), cells.read().get(run.name, {})
    if "start" not in done:
        means = {name: evaluate.mean(values) for name, values in field.baseline.items()}
        cells.put(run.name, "start", {**means, **field.told_apart(field.reference), **how})
    for name in args.only or known:
        if name in done:
            continue
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:
            spent = alone.submit(train, name, known[name], given).result()
        model = place(folder, name) / "model"
        cell = {**spent, **field.figures(model)}
        if name in CONDITIONS and "judge/helpful" in field.baseline:
            cell["asked"] = curve(field, model)
        cells.put(run.name, name, {**cell, **how})


def curve(field: Field, model: Path) -> list[dict[str, Any]]:
    """What comes of asking for each quality, worst first: every criterion's mean with its interval."""
    count = len(conditions.known_to(Policy.load(model).tokenizer))
    wanted = ("judge/total", "judge/helpful", "judge/honest", "judge/harmless", "length")
    asked = (field.figures(model, level) for level in range(1, count + 1))
    return [{name: found[name] for name in wanted if name in found} for found in asked]


COLUMNS = {
    "accuracy": ("accuracy by gain", "{:.3f}"),
    "likelier": ("chosen likelier", "{:.3f}"),
    "kl": ("KL, nats", "{:.2f}"),
    "drift": ("drift of chosen, nats", "{:+.2f}"),
    "length": ("length", "{:.1f}"),
    "distinct": ("distinct", "{:.3f}"),
    "seconds": ("CPU s", "{:.1f}"),
    "memory": ("MiB", "{:.0f}"),
}


def table(cells: Cells, runs: Sequence[str]) -> Iterator[str]:
    """A row a method: means over the runs."""
    heads = ["method", "win rate against the start", "each seed", *(head for head, _ in COLUMNS.values())]
    lines = []
    for name in ("start", *methods()):
        if not (found := cells.having(name, runs)):
            continue
        rates = [c["win_rate"]["value"] for c in found if "win_rate" in c]
        line = [name, shown(over_prompts([c.get("win_rate") for c in found]))]
        line.append(" / ".join(f"{rate:.3f}" for rate in rates) or "-")
        for key, (_, form) in COLUMNS.items():
            values = [c[key] for c in found if c.get(key) is not None]
            plain = [v for v in values if not isinstance(v, dict)]
            line.append(shown(float(np.mean(plain)) if plain else over_prompts(values), form))
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
    parser.add_argument("--prompts", type=int, default=800)
    parser.add_argument("--test", type=int, default=300)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[])
    parser.add_argument("--work", type=Path, default=Path("runs/preference"))
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
