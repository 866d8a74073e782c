"""Does a policy learn where its knowledge ends? And does teaching what it does not know teach it to invent?

    python benchmarks/honesty.py RUN [RUN ...] [--iterations 20] [--test 80]

RUN is the folder of a demo that has come as far as its fine-tuned policy. Two questions, both on the built-in world's
questions, half of which the passage does not answer:

1. boundary: policy gradients (group-relative, one step an iteration) on the reward tables of `tasks.honesty`. Test
   questions are sorted by how often the policy was right before, p; the table says from which p on one should answer.
2. hallucination: fine-tuning on answers that the passage tells and silence elsewhere, against fine-tuning on the true
   answer everywhere, which the policy cannot know where the passage is silent.

Writes benchmarks/honesty.json, and does not do again what is there; prints Markdown and draws the plot.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from tables import Cells, over_prompts, rows, save_picture, seed_of, shown

from heedful import world
from heedful.engine import process
from heedful.engine.batch import Packed, Tree, answer_node, microbatches, prompt_node
from heedful.engine.dialogues import conversations
from heedful.engine.fit import fit
from heedful.engine.optim import Optimizer
from heedful.engine.policy import Policy
from heedful.engine.sampling import Sampling
from heedful.engine.train import batches
from heedful.losses import next_token, ppo_clip
from heedful.report.style import COLOURS, picture
from heedful.stats import intervals
from heedful.tasks import honesty
from heedful.types import Conversation, Message, Prompt

TEACHERS = {"silent where untold": False, "true everywhere": True}
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
    """Train on one table; of every test question how often the policy was right before, and silent before and after."""
    table = honesty.table(name)
    policy = Policy.load(start)
    known, asked = questions(400, "train", seed, policy), questions(test, "test", seed, policy)
    before = outcomes(policy, asked, 8, seed)
    steps = rewarded(policy, known, table, iterations, seed)
    for _ in fit(policy.model, steps, ppo_clip, Optimizer(policy.model, learning_rate=3e-4)):
        pass
    after = outcomes(policy, asked, 4, seed + 1)
    return {
        "right_before": shares(before, "correct"),
        "silent_before": shares(before, "uninformative"),
        "silent": shares(after, "uninformative"),
        "right": shares(after, "correct"),
        "hedged": mean([float(o.startswith("hedged")) for row in after for o in row]),
        "reward_before": mean([table.of(o) for row in before for o in row]),
        "reward": mean([table.of(o) for row in after for o in row]),
        "told": [float(p.task == "question") for p in asked],
    }


def shares(found: Sequence[Sequence[str]], what: str) -> list[float]:
    """Of each question's answers the share with this outcome, hedged or not."""
    return [float(np.mean([o.endswith(what) for o in row])) for row in found]


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


def boundaries(cells: Cells, runs: Sequence[str]) -> Iterator[str]:
    """Silence by how often the policy was right before, over the questions of all runs."""
    heads = ["table", "right before", "questions", "silent before", "silent after", "the table asks for"]
    lines = []
    for name, table in honesty.TABLES.items():
        found = cells.having(f"boundary {name}", runs)
        if not found:
            continue
        right, before, after = (
            np.concatenate([c[key] for c in found]) for key in ("right_before", "silent_before", "silent")
        )
        for low, high in BINS:
            inside = (right >= low) & (right < high)
            if inside.any():
                wanted = table.best(float(right[inside].mean()))
                cell = [name, f"{low:.2f} to {min(high, 1):.2f}", str(int(inside.sum()))]
                lines.append([*cell, *(shown(mean(x[inside].tolist())) for x in (before, after)), wanted])
    yield from rows(heads, lines)


def earnings(cells: Cells, runs: Sequence[str]) -> Iterator[str]:
    """What each table paid before and after."""
    heads = [
        "table",
        "answer plainly above",
        "hedge between",
        "reward before",
        "after",
        "right after",
        "hedged",
    ]
    lines = []
    for name, table in honesty.TABLES.items():
        found = cells.having(f"boundary {name}", runs)
        hedge = table.hedge_between
        line = [name, f"{table.answer_above:.2f}", f"{hedge[0]:.2f} and {hedge[1]:.2f}" if hedge else "never"]
        line += [shown(over_prompts([c[key] for c in found])) for key in ("reward_before", "reward")]
        line += [shown(over_prompts([mean(c["right"]) for c in found]))]
        lines.append([*line, shown(over_prompts([c["hedged"] for c in found]))])
    yield from rows(heads, lines)


def teachers(cells: Cells, runs: Sequence[str]) -> Iterator[str]:
    """What fine-tuning on each teacher made of held-out questions."""
    names = [n for n in ("start", *TEACHERS) if cells.having(n, runs)]
    found = {n: cells.having(n, runs) for n in names}
    lines = [
        [what, *(shown(over_prompts([c[what] for c in found[n]])) for n in names)]
        for what in found[names[0]][0]
        if ": " in what
    ]
    yield from rows(["held-out questions", *names], lines)


def plot(cells: Cells, runs: Sequence[str]) -> None:
    """Silence before and after against how often the policy was right, with the threshold that each table sets."""
    roles = dict(zip(honesty.TABLES, ("rl", "prefer"), strict=True))

    def draw(axes: Axes) -> None:
        for name, role in roles.items():
            found = cells.having(f"boundary {name}", runs)
            right, after = (np.concatenate([c[key] for c in found]) for key in ("right_before", "silent"))
            kept = [(right >= low) & (right < high) for low, high in BINS]
            points = [(right[k].mean(), mean(after[k].tolist())) for k in kept if k.any()]
            x, y = [p[0] for p in points], [p[1]["value"] for p in points]
            half = [(p[1]["high"] or p[1]["value"]) - p[1]["value"] for p in points]
            axes.errorbar(x, y, half, marker="o", color=COLOURS[role], markersize=4, linewidth=1.4)
            axes.axvline(honesty.TABLES[name].answer_above, color=COLOURS[role], dashes=(2, 2), linewidth=1)
            axes.annotate(f" {name}", (x[-1], y[-1]), color=COLOURS[role])
        axes.set_xlabel("right before, share of answers")
        axes.set_title("silent after", loc="left", fontsize=11)
        axes.margins(x=0.15)

    alt = "Share of silence after training against how often the policy was right before, by reward table"
    save_picture("honesty", picture("honesty", 240, draw, alt))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--test", type=int, default=80)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    process.prepare()
    cells = Cells(args.out)
    for run in args.runs:
        start, seed = str(run / "sft" / "model"), seed_of(run)
        ways: dict[str, Callable[[], dict[str, Any]]] = {
            "start": lambda start=start, seed=seed: measured(Policy.load(start), args.test, seed)
        }
        for name, truth in TEACHERS.items():
            ways[name] = partial(hallucination, start, args.test, seed, all_true=truth)
        for name in honesty.TABLES:
            ways[f"boundary {name}"] = partial(boundary, start, name, args.iterations, args.test, seed)
        done = cells.read().get(run.name, {})
        for name, way in ways.items():
            if name not in done:
                cells.put(run.name, name, {**way(), "iterations": args.iterations, "test": args.test})
    runs = list(cells.read())
    print("\n".join([*boundaries(cells, runs), "", *earnings(cells, runs), "", *teachers(cells, runs)]))
    plot(cells, runs)


if __name__ == "__main__":
    main()
