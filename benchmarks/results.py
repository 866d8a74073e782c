"""Every method from one SFT model and one reward model, with the same number of sampled answers: one table.

    python benchmarks/results.py RUN [RUN ...] [--methods a2c dpo ...] [--output runs/results] [--table]

RUN is the folder of a demo (or of a loop) that got as far as its reward model: `heedful demo skip=[rl,prefer] seed=S`.
Each method of each run becomes a line of cells.jsonl once it is done; what is there is not done again, so the
command may be stopped and started. `--table` only prints the table (Markdown) of what is there and writes table.json.
"""

import argparse
import json
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tables import commit, dot_plot, over_prompts, over_seeds, rows, shown

from heedful.data.formats import read_preferences, read_prompts, read_texts, write_preferences
from heedful.engine import judges, process
from heedful.engine.batch import Tree, answer_node, prompt_node
from heedful.engine.dialogues import documents
from heedful.engine.policy import Policy
from heedful.engine.rerank import Reranked
from heedful.engine.reward_model import RewardModel
from heedful.engine.sampling import Sampling
from heedful.engine.score import sequence_columns
from heedful.engine.train import means
from heedful.losses.supervised import next_token
from heedful.stages import best_of, evaluate, prefer, rl

ITERATIONS, PROMPTS, ANSWERS = 12, 16, 4
BUDGET = ITERATIONS * PROMPTS * ANSWERS  # answers that a method may sample in training
TRPO = {
    "algorithm": "trpo",
    "token_budget": 512,
    "cg_iterations": 5,
    "critic_updates": 2,
}
RL: dict[str, dict[str, Any]] = {
    "reinforce": {"algorithm": "reinforce"},
    "a2c": {"algorithm": "a2c"},
    "trpo": TRPO,
    "trpo_near": {**TRPO, "max_kl": 0.002},
    "trpo_fifth": {**TRPO, "fisher_ratio": 0.2},
    "trpo_fifth_near": {**TRPO, "fisher_ratio": 0.2, "max_kl": 0.002},
    "ppo_clip": {"algorithm": "ppo_clip", "num_ppo_epochs": 1},
    "ppo_kl": {"algorithm": "ppo_kl", "num_ppo_epochs": 1},
    "ppo_ptx": {"algorithm": "ppo_ptx", "num_ppo_epochs": 1, "ptx_coef": 0.05, "ptx_ratio": 0.25},
    "rloo": {"algorithm": "rloo"},
    "grpo": {"algorithm": "grpo", "num_ppo_epochs": 1},
}
METHODS = (*RL, "best_of_16", "rejection_sampling", "rejection_ppo", "expert_iteration", "dpo")


class Start:
    """What a run gives every method: the policy to start from, the reward, prompts, and how it does itself."""

    def __init__(self, run: Path, prompts: int) -> None:
        self.run = run
        told = json.loads((run / "run.json").read_text())
        self.seed = int(told["seed"])
        self.model = str(run / "sft" / "model")
        self.reward_folder = str(run / "round-1" / "reward" / "model")
        self.preferences = run / "round-1" / "feedback" / "preferences.jsonl"
        self.prompts, self.text = run / "world" / "prompts.jsonl", run / "world" / "text.jsonl"
        self.sft = Policy.load(self.model)
        self.reward = RewardModel.load(self.reward_folder)
        self.length = int(told.get("length", 48))
        self.judge = judges.find(told.get("gold", "world"))
        asked = read_prompts(run / "world" / "test_prompts.jsonl")
        self.asked = self.sft.fitting(asked, self.length)[:prompts]
        texts = read_texts(run / "world" / "heldout_text.jsonl")[:60]
        self.texts = documents(self.sft.tokenizer, texts, 256)
        self.table, _ = self.measured(self.sft, self.sft.model)

    def measured(self, sampler: Any, model: Any) -> tuple[dict[str, list[float]], dict[str, Any]]:
        """A value an answer for every measure, and figures of the model as it is."""
        answered = sampler.answer(self.asked, Sampling(self.length), seed=(self.seed, "evaluate"))
        table = evaluate.measured(self.asked, answered, self.judge, self.reward)
        trees = [Tree(prompt_node(a.prompt), (answer_node(a.samples[0].ids),)) for a in answered]
        table["kl"] = (
            self.sft.kl(answered, self.sft.model) if model is self.sft.model else self.kl(answered, model)
        )
        found = sequence_columns(model, trees, "entropy")
        table["entropy"] = [float(row[0].mean()) for row in found]
        perplexity = math.exp(means(model, self.texts, {"loss": next_token})["loss"])
        return table, {"text_perplexity": perplexity}

    def kl(self, answered: Any, model: Any) -> list[float]:
        """Summed log pi - log ref of each answer, both from fresh forwards."""
        trees = [Tree(prompt_node(a.prompt), (answer_node(a.samples[0].ids),)) for a in answered]
        own, other = (sequence_columns(m, trees, "logp") for m in (model, self.sft.model))
        return [float(a[0].sum() - b[0].sum()) for a, b in zip(own, other, strict=True)]


def by_rl(start: Start, folder: Path, settings: dict[str, Any]) -> str:
    """A stage of RL with the demo's settings."""
    values = {
        "iterations": ITERATIONS,
        "prompts_per_step": PROMPTS,
        "num_generations": ANSWERS,
        "max_completion_length": start.length,
        "kl_coef": 0.05,
        "kl_target": 5.0,
        "kl_horizon": 2000,
        **settings,
    }
    if settings["algorithm"] == "ppo_ptx":
        values["ptx"] = start.text
    given = {**common(start, folder), "reward": start.reward_folder, "prompts": start.prompts, **values}
    rl.main(rl.RlConfig(**given))
    return str(folder / "model")


def common(start: Start, folder: Path) -> dict[str, Any]:
    return {"output": folder, "model": start.model, "seed": start.seed, "resume": False}


def by_best_of(start: Start, folder: Path, settings: dict[str, Any], budget: int = BUDGET) -> str:
    """Rounds of best of n and fine-tuning."""
    rounds = settings["rounds"]
    values = {
        "prompts_per_round": budget // rounds // settings["num_generations"],
        "max_completion_length": start.length,
        "tokens_per_step": 2048,
        "learning_rate": 3e-4,
        "epochs": 2,
        **settings,
    }
    best_of.main(
        best_of.BestOfConfig(
            **common(start, folder), reward=start.reward_folder, prompts=start.prompts, **values
        )
    )
    return str(folder / "model")


def by_dpo(start: Start, folder: Path) -> str:
    """DPO on the judgements of as many answers as the others may sample."""
    asked: dict[Any, None] = {}
    preferences = read_preferences(start.preferences)
    for p in preferences:
        asked.setdefault(p.messages)
    kept = set(list(asked)[: BUDGET // ANSWERS])
    folder.mkdir(parents=True, exist_ok=True)
    write_preferences(folder / "preferences.jsonl", [p for p in preferences if p.messages in kept])
    values = {"data": folder / "preferences.jsonl", "learning_rate": 2e-4, "tokens_per_step": 4096}
    prefer.main(prefer.PreferConfig(**{**common(start, folder / "dpo"), **values}))
    return str(folder / "dpo" / "model")


def trained(start: Start, method: str, folder: Path) -> str:
    """Train by a method; where its policy is."""
    if method in RL:
        return by_rl(start, folder, RL[method])
    if method == "rejection_sampling":
        return by_best_of(start, folder, {"rounds": 2, "num_generations": 16})
    if method == "rejection_ppo":  # Llama 2's order, half of the answers for each
        fine_tuned = by_best_of(start, folder / "best", {"rounds": 1, "num_generations": 16}, BUDGET // 2)
        return by_rl(
            start, folder / "ppo", {**RL["ppo_clip"], "iterations": ITERATIONS // 2, "model": fine_tuned}
        )
    if method == "expert_iteration":
        settings = {"rounds": 4, "num_generations": 8, "keep": 2, "pool": False, "start_from": "previous"}
        return by_best_of(start, folder, settings)
    if method == "dpo":
        return by_dpo(start, folder)
    return start.model  # best of 16 trains nothing


def cell(start: Start, method: str, output: Path) -> dict[str, Any]:
    """Train, measure, and forget the weights."""
    folder = output / f"{start.run.name}-{method}"
    shutil.rmtree(folder, ignore_errors=True)
    process.forget_peak_memory()
    began = time.perf_counter()
    cpu = time.process_time()
    policy = Policy.load(trained(start, method, folder))
    seconds, cpu, memory = time.perf_counter() - began, time.process_time() - cpu, process.peak_memory_bytes()
    sampler = Reranked(policy, start.reward, 16) if method == "best_of_16" else policy
    table, more = start.measured(sampler, policy.model)
    figures = evaluate.compare(start.asked, table, start.table)
    if method == "best_of_16":  # the log-probs of its answers are those of one draw
        figures["kl"] = {"value": math.log(16) - 15 / 16, "low": None, "high": None, "n": 0}
    shutil.rmtree(folder, ignore_errors=True)
    return {
        "run": start.run.name,
        "seed": start.seed,
        "method": method,
        "commit": commit(),
        "answers": 0 if method == "best_of_16" else BUDGET,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_memory_bytes": memory,
        "figures": {**figures, **more},
    }


COLUMNS: Sequence[tuple[str, str, str]] = (
    ("reward", "reward", "{:+.2f}"),
    ("KL, nats", "kl", "{:.2f}"),
    ("entropy", "entropy", "{:.2f}"),
    ("tokens", "length", "{:.1f}"),
    ("ends", "stopped", "{:.3f}"),
)


def markdown(cells: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A row a method: means over runs, with 95 % intervals over their prompts."""
    heads = ["method", "beats SFT, gold judge", "each seed", "over seeds", *(name for name, *_ in COLUMNS)]
    heads += ["text perplexity, each seed", "CPU s", "peak GiB"]
    lines = []
    for method in ("sft", *METHODS):
        mine = sorted((c for c in cells if c["method"] == method), key=lambda c: int(c["seed"]))
        if not mine:
            continue
        rates = [c["figures"].get("win_rate/judge/total") for c in mine]
        each = [r["value"] for r in rates if r]
        line = [method, shown(over_prompts(rates)), " / ".join(f"{rate:.3f}" for rate in each) or "-"]
        line.append(shown(over_seeds(each)).partition(" ")[2] or "-")
        line += [shown(over_prompts([c["figures"].get(key) for c in mine]), form) for _, key, form in COLUMNS]
        texts = [c["figures"]["text_perplexity"] for c in mine]
        line.append(" / ".join(f"{text:.2f}" for text in texts))
        line.append(f"{np.mean([c['cpu_seconds'] for c in mine]):.0f}")
        line.append(f"{max(c['peak_memory_bytes'] for c in mine) / 2**30:.2f}")
        lines.append(line)
    yield from rows(heads, lines)
    missing = [method for method in METHODS if all(c["method"] != method for c in cells)]
    if missing:
        yield f"\nNot measured: {', '.join(missing)}."


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--output", type=Path, default=Path("runs/results"))
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--picture", default="", help="draw docs/results/NAME.svg")
    given = parser.parse_args()
    process.prepare()
    given.output.mkdir(parents=True, exist_ok=True)
    path = given.output / "cells.jsonl"
    cells = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    for run in () if given.table else given.runs:
        done = {c["method"] for c in cells if c["run"] == run.name}
        missing = [m for m in given.methods if m not in done]
        if not missing:
            continue
        start = Start(run, given.prompts)
        if "sft" not in done:
            own = {"run": run.name, "seed": start.seed, "method": "sft", "commit": commit(), "answers": 0}
            table, more = start.measured(start.sft, start.sft.model)
            figures = {**evaluate.compare(start.asked, table, table), **more}
            own |= {"seconds": 0.0, "cpu_seconds": 0.0, "peak_memory_bytes": 0, "figures": figures}
            cells.append(own)
            add(path, own)
        for method in missing:
            found = cell(start, method, given.output)
            cells.append(found)
            add(path, found)
    (given.output / "table.json").write_text(json.dumps(cells, indent=1) + "\n")
    print("\n".join(markdown(cells)))
    if given.picture:
        rates = {
            m: [c["figures"]["win_rate/judge/total"] for c in cells if c["method"] == m] for m in METHODS
        }
        lines = [(method, over_prompts(found)) for method, found in rates.items() if found]
        dot_plot(
            given.picture, lines, "beats SFT", "How often each method's answers beat those of the SFT model"
        )


def add(path: Path, found: dict[str, Any]) -> None:
    """Append a line and say it."""
    with path.open("a") as file:
        file.write(json.dumps(found) + "\n")
    rate = found["figures"].get("win_rate/judge/total", {"value": float("nan")})["value"]
    print(
        f"{found['run']} {found['method']}: beats SFT {rate:.3f}, {found['cpu_seconds']:.0f} CPU s",
        flush=True,
    )


if __name__ == "__main__":
    main()
