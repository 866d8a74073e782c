"""Does a policy learn where its knowledge ends? And does teaching what it does not know teach it to invent?

    python benchmarks/honesty.py RUN [RUN ...] [--iterations 20] [--test 80]

RUN is the folder of a demo that has come as far as its fine-tuned policy. Two questions, both on the built-in world's
questions, half of which the passage does not answer:

1. hallucination: fine-tuning on answers that the passage tells and silence elsewhere, against fine-tuning on the true
   answer everywhere, which the policy cannot know where the passage is silent.
2. boundary: policy gradients (group-relative, one step an iteration) on reward tables, from a policy that was shown
   every way (plain, hedged, silent) to every question. Test questions are sorted by how often the policy that always
   answers is right, p; the table says below which p one should be silent.

Writes benchmarks/honesty.json, and does not do again what is there; prints Markdown and draws the plot.
"""

import argparse
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from tables import Cells, rows, save_picture, seed_of, shown

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
from heedful.nn import hub
from heedful.report.style import COLOURS, picture
from heedful.stats import intervals
from heedful.tasks import honesty
from heedful.types import Conversation, Message, Prompt

Values = NDArray[np.float64]
TABLES = {**honesty.TABLES, "even": honesty.table("1,0.5,0,-0.5,-1")}
BINS = ((0.0, 0.25), (0.25, 0.5), (0.5, 0.8), (0.8, 1.01))
HOW = Sampling(32, 1.0)
SHOWN = 300  # questions that a teacher answers


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


def boundary(confident: str, able: str, name: str, iterations: int, test: int, seed: int) -> dict[str, Any]:
    """Train on one table; of every test question how often who always answers is right, and what is done after."""
    table = TABLES[name]
    policy = Policy.load(able)
    unseen = questions(SHOWN + 400, "train", seed, policy)[SHOWN:]
    asked = questions(test, "test", seed, policy)
    sure = outcomes(Policy.load(confident), asked, 8, seed)
    before = outcomes(policy, asked, 4, seed)
    steps = rewarded(policy, unseen, table, iterations, seed)
    for _ in fit(policy.model, steps, ppo_clip, Optimizer(policy.model, learning_rate=3e-4)):
        pass
    after = outcomes(policy, asked, 4, seed + 1)
    return {
        "answerable": [p.task == "question" for p in asked],
        "right": shares(sure, ("correct", "hedged correct")),
        "silent_before": shares(before, ("uninformative",)),
        "silent": shares(after, ("uninformative",)),
        "hedged": shares(after, ("hedged correct", "hedged wrong")),
        "hedged_before": shares(before, ("hedged correct", "hedged wrong")),
        "right_after": shares(after, ("correct", "hedged correct")),
        "reward_before": [float(np.mean([table.of(o) for o in row])) for row in before],
        "reward": [float(np.mean([table.of(o) for o in row])) for row in after],
    }


def shares(found: Sequence[Sequence[str]], what: Sequence[str]) -> list[float]:
    """Of each question's answers the share with one of these outcomes."""
    return [float(np.mean([o in what for o in row])) for row in found]


def mean(values: Iterable[float]) -> dict[str, Any]:
    """Of one value a question: the answers to a question are one draw."""
    found = intervals.mean_interval([float(v) for v in values])
    return {"value": found.value, "low": found.low, "high": found.high}


def pooled(found: Sequence[Mapping[str, Any]], key: str) -> Values:
    """One value a question, over all runs."""
    return np.concatenate([np.asarray(c[key]) for c in found])


def fall(first: Values, last: Values) -> dict[str, Any]:
    """By how much the mean of `last` is below that of `first`: other questions, so their variances add."""
    one, other = mean(first), mean(last)
    value = one["value"] - other["value"]
    half = math.hypot(one["high"] - one["value"], other["high"] - other["value"])
    return {"value": value, "low": value - half, "high": value + half}


def truth(prompt: Prompt) -> str:
    """The asked fact, as a sentence, whether the passage tells it or not."""
    return world.demonstrate(Prompt(prompt.id, prompt.messages, "question", prompt.columns), 0, "plain").text


def silence(prompt: Prompt) -> str:
    """That the passage does not say it."""
    untold = Prompt(prompt.id, prompt.messages, "unanswerable", prompt.columns)
    return world.demonstrate(untold, 0, "honest").text


TEACHERS: dict[str, Callable[[Prompt], Sequence[str]]] = {
    "silent where untold": lambda p: [truth(p) if p.task == "question" else silence(p)],
    "true everywhere": lambda p: [truth(p)],
    "every way everywhere": lambda p: [truth(p), f"I think {truth(p)}", silence(p)],
}
"""What each teacher says to a question. The last one only shows the ways there are, not when to take which."""


def fine_tuned(start: str, name: str, seed: int, folder: Path) -> str:
    """Fine-tune on one teacher; where the policy is."""
    place = folder / name.replace(" ", "-")
    policy = Policy.load(start)
    asked = questions(SHOWN, "train", seed, policy)
    shown = [(p, answer) for p in asked for answer in TEACHERS[name](p)]
    dialogues = [Conversation((*p.messages, Message("assistant", answer))) for p, answer in shown]
    trees, _ = conversations(policy.tokenizer, dialogues, 256)
    steps = batches(trees, tokens_per_step=2048, epochs=2, seed=seed)
    for _ in fit(policy.model, steps, next_token, Optimizer(policy.model, learning_rate=5e-4)):
        pass
    hub.save_model(place, policy.model, policy.tokenizer)
    return str(place)


def measured(policy: Policy, test: int, seed: int) -> dict[str, list[float]]:
    """Of each test question of a kind the share of answers with each outcome, hedged or not."""
    asked = questions(test, "test", seed, policy)
    found = outcomes(policy, asked, 2, seed)
    kinds = {
        task: [row for p, row in zip(asked, found, strict=True) if p.task == task]
        for task in ("question", "unanswerable")
    }
    return {
        f"{task}: {what}": shares(answers, [o for o in world.OUTCOMES if o.endswith(what)])
        for task, answers in kinds.items()
        for what in ("correct", "wrong", "uninformative")
    }


def boundaries(cells: Cells, runs: Sequence[str]) -> Iterator[str]:
    """What is done by how often who always answers is right, over the questions of all runs."""
    heads = ["table", "right if it answers", "questions", "of them answerable"]
    heads += ["silent before", "silent after", "hedged after", "the table asks for"]
    lines = []
    for name, table in TABLES.items():
        found = cells.having(f"boundary {name}", runs)
        if not found:
            continue
        right, answerable = pooled(found, "right"), pooled(found, "answerable")
        for low, high in BINS:
            inside = (right >= low) & (right < high)
            if inside.any():
                line = [name, f"{low:.2f} to {min(high, 1):.2f}", str(int(inside.sum()))]
                line.append(str(int(answerable[inside].sum())))
                line += [shown(mean(pooled(found, k)[inside])) for k in ("silent_before", "silent", "hedged")]
                lines.append([*line, table.best(float(right[inside].mean()))])
    yield from rows(heads, lines)


def falls(cells: Cells, runs: Sequence[str]) -> Iterator[str]:
    """By how much silence falls from where who always answers is hardly ever right to where nearly always.

    Nearly all questions of the first kind are unanswerable, so among the answerable alone: from below the last bin.
    """
    heads = ["silence falls", "before", "after", "by more after", "among the answerable: before", "after"]
    lines = []
    for name in TABLES:
        found = cells.having(f"boundary {name}", runs)
        right, answerable = pooled(found, "right"), pooled(found, "answerable").astype(bool)
        before, after = pooled(found, "silent_before"), pooled(found, "silent")
        never, always = right < BINS[0][1], right >= BINS[-1][0]
        unsure, sure = answerable & ~always, answerable & always
        line = [shown(fall(x[never], x[always])) for x in (before, after, after - before)]
        lines.append([name, *line, *(shown(fall(x[unsure], x[sure])) for x in (before, after))])
    yield from rows(heads, lines)


def earnings(cells: Cells, runs: Sequence[str]) -> Iterator[str]:
    """What each table paid before and after, and what always silent and always plain would have earned."""
    heads = ["table", "silent below", "plain above", "reward before", "after", "best fixed way"]
    lines = []
    for name, table in TABLES.items():
        found = cells.having(f"boundary {name}", runs)
        line = [name, f"{table.silent_below:.2f}", f"{table.plain_above:.2f}"]
        line += [shown(mean(pooled(found, key))) for key in ("reward_before", "reward")]
        fixed = table.worth(float(pooled(found, "right").mean()))
        way = max(fixed, key=lambda w: fixed[w])
        lines.append([*line, f"{way}, {fixed[way]:+.3f}"])
    yield from rows(heads, lines)


def teachers(cells: Cells, runs: Sequence[str]) -> Iterator[str]:
    """What fine-tuning on each teacher made of held-out questions."""
    names = [n for n in ("start", *TEACHERS) if cells.having(n, runs)]
    found = {n: cells.having(n, runs) for n in names}
    lines = [
        [what, *(shown(mean(pooled(found[n], what))) for n in names)]
        for what in found[names[0]][0]
        if ": " in what
    ]
    yield from rows(["held-out questions", *names], lines)


def plot(cells: Cells, runs: Sequence[str]) -> None:
    """Silence after training against how often who always answers is right, and up to where each table asks for it."""
    roles = dict(zip(TABLES, ("rl", "ink", "prefer"), strict=True))

    def draw(axes: Axes) -> None:
        for name, role in roles.items():
            found = cells.having(f"boundary {name}", runs)
            right, after = pooled(found, "right"), pooled(found, "silent")
            kept = [(right >= low) & (right < high) for low, high in BINS]
            points = [(right[k].mean(), mean(after[k])) for k in kept if k.any()]
            x, y = [p[0] for p in points], [p[1]["value"] for p in points]
            half = [(p[1]["high"] or p[1]["value"]) - p[1]["value"] for p in points]
            axes.errorbar(x, y, half, marker="o", color=COLOURS[role], markersize=4, linewidth=1.4)
            axes.axvline(TABLES[name].silent_below, color=COLOURS[role], dashes=(2, 2), linewidth=1)
            axes.annotate(f" {name}", (x[-1], y[-1]), color=COLOURS[role])
        axes.set_xlabel("right if it answers, share")
        axes.set_title("silent after", loc="left", fontsize=11)
        axes.margins(x=0.15)

    alt = "Share of silence after training against how often who always answers is right, by reward table"
    save_picture("honesty", picture("honesty", 240, draw, alt))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--test", type=int, default=80)
    parser.add_argument("--work", type=Path, default=Path("runs/honesty"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    process.prepare()
    cells = Cells(args.out)
    for run in args.runs:
        start, seed, folder = str(run / "sft" / "model"), seed_of(run), args.work / run.name
        done = cells.read().get(run.name, {})
        how = {"iterations": args.iterations, "test": args.test}
        tuned = {name: fine_tuned(start, name, seed, folder) for name in TEACHERS}
        for name, model in {"start": start, **tuned}.items():
            if name not in done:
                cells.put(run.name, name, {**measured(Policy.load(model), args.test, seed), **how})
        confident, able = tuned["true everywhere"], tuned["every way everywhere"]
        for name in TABLES:
            if f"boundary {name}" not in done:
                found = boundary(confident, able, name, args.iterations, args.test, seed)
                cells.put(run.name, f"boundary {name}", {**found, **how})
    runs = list(cells.read())
    tables = (boundaries, falls, earnings, teachers)
    print("\n\n".join("\n".join(table(cells, runs)) for table in tables))
    plot(cells, runs)


if __name__ == "__main__":
    main()
