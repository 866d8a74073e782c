"""Does a policy learn where its knowledge ends? And does teaching what it does not know teach it to invent?

    python benchmarks/honesty.py RUN [RUN ...] [--iterations 20] [--test 80]

RUN is the folder of a demo that has come as far as its fine-tuned policy. Two questions, both on the built-in world's
questions, half of which the passage does not answer:

1. boundary: policy gradients (group-relative, one step an iteration) on the reward tables of `tasks.honesty`. Test
   questions are sorted by how often the policy was right before, p; the table says from which p on one should answer.
2. hallucination: fine-tuning on answers that the passage tells and silence elsewhere, against fine-tuning on the true
   answer everywhere, which the policy cannot know where the passage is silent.

Writes benchmarks/honesty.json and prints Markdown.
"""

import argparse
import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heedful import world
from heedful.engine.batch import Packed, Tree, answer_node, microbatches, prompt_node
from heedful.engine.dialogues import conversations
from heedful.engine.fit import fit
from heedful.engine.optim import Optimizer
from heedful.engine.policy import Policy
from heedful.engine.sampling import Sampling
from heedful.engine.train import batches
from heedful.losses import next_token, ppo_clip
from heedful.stats import intervals
from heedful.tasks import honesty
from heedful.types import Conversation, Message, Prompt

RESULTS = Path(__file__).with_suffix(".json")
BINS = ((0.0, 0.25), (0.25, 0.5), (0.5, 0.8), (0.8, 1.01))
HOW = Sampling(32, 1.0)


def questions(n: int, split: str, seed: int, policy: Policy) -> list[Prompt]:
    """As many questions that the passage answers as others."""
    made = world.World(seed=seed, lang="en")
    return policy.fitting(
        made.prompts(n, seed=seed + 77, split=split, tasks=["question", "unanswerable"]),
        HOW.max_completion_length,
    )[:n]


def outcomes(policy: Policy, prompts: Sequence[Prompt], n: int, seed: int) -> list[list[str]]:
    """What becomes of `n` answers to each question."""
    answered = policy.answer(prompts, HOW, seed=(seed, "honesty"), n=n)
    return [[world.outcome(p, t) for t in a.texts] for p, a in zip(prompts, answered, strict=True)]


def rewarded(
    policy: Policy, prompts: Sequence[Prompt], table: honesty.RewardTable, iterations: int, seed: int
) -> Iterator[list[Packed]]:
    """Batches of answers drawn from the policy as it is, each with its reward less the mean of its prompt's."""
    for number in range(iterations):
        asked = [prompts[(number * 16 + i) % len(prompts)] for i in range(16)]
        answered = policy.answer(asked, HOW, seed=(seed, "boundary", number), n=6)
        trees = []
        for prompt, row in zip(asked, answered, strict=True):
            worth = np.asarray([table.of(world.outcome(prompt, t)) for t in row.texts], dtype=np.float32)
            nodes = [
                answer_node(s.ids, behavior_logp=s.logp, advantage=np.full(len(s.ids), a, dtype=np.float32))
                for s, a in zip(row.samples, worth - worth.mean(), strict=True)
            ]
            trees.append(Tree(prompt_node(row.prompt), tuple(nodes)))
        yield microbatches(trees, 8192)


def boundary(start: str, name: str, iterations: int, test: int, seed: int) -> dict[str, Any]:
    """Train on one table; the share of silence before and after, by how often the policy was right before."""
    table = honesty.table(name)
    policy = Policy.load(start)
    known, asked = questions(400, "train", seed, policy), questions(test, "test", seed, policy)
    before = outcomes(policy, asked, 8, seed)
    for _ in fit(
        policy.model,
        rewarded(policy, known, table, iterations, seed),
        ppo_clip,
        Optimizer(policy.model, learning_rate=3e-4),
    ):
        pass
    after = outcomes(policy, asked, 4, seed + 1)
    right = np.asarray([np.mean([o.endswith("correct") for o in row]) for row in before])
    silent = np.asarray([np.mean([o == "uninformative" for o in row]) for row in after])
    was_silent = np.asarray([np.mean([o == "uninformative" for o in row]) for row in before])
    hedged = [float(o.startswith("hedged")) for row in after for o in row]
    rows = []
    for low, high in BINS:
        inside = (right >= low) & (right < high)
        if inside.any():
            found = intervals.mean_interval(silent[inside].tolist())
            rows.append(
                {
                    "right_before": [low, min(high, 1.0)],
                    "questions": int(inside.sum()),
                    "silent_before": float(was_silent[inside].mean()),
                    "silent": {"value": found.value, "low": found.low, "high": found.high},
                }
            )
    return {
        "answer_above": table.answer_above,
        "hedge_between": table.hedge_between,
        "bins": rows,
        "reward_before": mean([table.of(o) for row in before for o in row]),
        "reward": mean([table.of(o) for row in after for o in row]),
        "hedged": mean(hedged),
    }


def mean(values: Sequence[float]) -> dict[str, Any]:
    found = intervals.mean_interval(list(values))
    return {"value": found.value, "low": found.low, "high": found.high}


def taught(prompts: Sequence[Prompt], *, all_true: bool) -> list[Conversation]:
    """What a teacher says to each question: the truth, and where the passage is silent that it is, or the truth too.

    The world's demonstrator in mode `plain` states the asked fact, told or not.
    """
    found = []
    for prompt in prompts:
        known = prompt.task == "question"
        as_told = Prompt(prompt.id, prompt.messages, "question", prompt.columns)
        text = world.demonstrate(as_told, 0, "plain").text if known or all_true else None
        answer = text if text is not None else world.demonstrate(prompt, 0, "honest").text
        found.append(Conversation((*prompt.messages, Message("assistant", answer))))
    return found


def hallucination(start: str, test: int, seed: int, *, all_true: bool) -> dict[str, Any]:
    """Fine-tune on one teacher; how often held-out questions are answered rightly, wrongly, or not."""
    policy = Policy.load(start)
    trees, _ = conversations(
        policy.tokenizer, taught(questions(300, "train", seed, policy), all_true=all_true), 256
    )
    steps = batches(trees, tokens_per_step=2048, epochs=2, seed=seed)
    for _ in fit(policy.model, steps, next_token, Optimizer(policy.model, learning_rate=5e-4)):
        pass
    return measured(policy, test, seed)


def measured(policy: Policy, test: int, seed: int) -> dict[str, Any]:
    asked = questions(test, "test", seed, policy)
    found = outcomes(policy, asked, 2, seed)
    return {
        f"{task}: {what}": mean(
            [
                float(o.endswith(what))
                for p, row in zip(asked, found, strict=True)
                if p.task == task
                for o in row
            ]
        )
        for task in ("question", "unanswerable")
        for what in ("correct", "wrong", "uninformative")
    }


def shown(value: dict[str, Any]) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def markdown(cells: dict[str, Any]) -> str:
    lines = [
        "| table | right before | questions | silent before | silent after | the table asks to answer above |"
    ]
    lines.append("|---|---|---|---|---|---|")
    for name in honesty.TABLES:
        for row in cells.get(f"boundary {name}", {}).get("bins", []):
            low, high = row["right_before"]
            ask = cells[f"boundary {name}"]["answer_above"]
            lines.append(
                f"| {name} | {low:.2f} to {high:.2f} | {row['questions']} | {row['silent_before']:.3f} | "
                f"{shown(row['silent'])} | {ask:.2f} |"
            )
    teachers = [n for n in ("start", "silent where untold", "true everywhere") if n in cells]
    if teachers:
        lines += [
            "",
            "| held-out questions | " + " | ".join(teachers) + " |",
            "|---|" + "---|" * len(teachers),
        ]
        for what in cells[teachers[0]]:
            lines.append(f"| {what} | " + " | ".join(shown(cells[n][what]) for n in teachers) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--test", type=int, default=80)
    args = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True
    ).stdout.strip()
    for run in args.runs:
        start = str(run / "sft" / "model")
        seed = int(json.loads((run / "run.json").read_text())["config"].get("seed", 0))
        cells = results.setdefault(run.name, {})
        cells["how"] = {"commit": commit, "iterations": args.iterations, "test": args.test, "seed": seed}
        cells["start"] = measured(Policy.load(start), args.test, seed)
        for name, all_true in (("silent where untold", False), ("true everywhere", True)):
            cells[name] = hallucination(start, args.test, seed, all_true=all_true)
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            print(f"{run.name} {name}", flush=True)
        for name in honesty.TABLES:
            cells[f"boundary {name}"] = boundary(start, name, args.iterations, args.test, seed)
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            print(f"{run.name} boundary {name}", flush=True)
    for name, cells in results.items():
        print(f"\n{name}\n\n{markdown(cells)}")


if __name__ == "__main__":
    main()
