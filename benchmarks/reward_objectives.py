"""What an objective for reward models changes: kinds of objective at equal labels, and margins by strength.

    python benchmarks/reward_objectives.py RUN [RUN ...] [--draws 2] [--prompts 200] [--epochs 2]
        [--margin-prompts 1500]

A RUN is the folder of `heedful demo` (one seed each). Its simulated annotators judge the answers that its SFT model
gave: one annotator a prompt ranks, rates and compares them, all from one view of each answer, so that every objective
learns from the same labels. Each draw holds out other prompts and starts with another head. What is found goes into
benchmarks/reward_objectives.json after every pass; a second call goes on there, and both print Markdown.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from tables import commit, seed_of

from heedful import world
from heedful.data import verdicts
from heedful.data.formats import read_prompts
from heedful.data.store import items
from heedful.data.store.store import Store
from heedful.engine import process
from heedful.engine.batch import Tree, microbatches
from heedful.engine.fit import fit
from heedful.engine.optim import Optimizer, schedule
from heedful.engine.pairs import split
from heedful.engine.score import sequence_columns
from heedful.engine.train import means
from heedful.engine.verdict_trees import learnt_from
from heedful.losses import reward
from heedful.losses.bind import Loss
from heedful.nn import hub
from heedful.nn.likelihood_scorer import LikelihoodScorer
from heedful.stats.intervals import mean_interval
from heedful.types import Answer, Prompt, Verdict

OUT = Path(__file__).with_suffix(".json")
LENGTH = 512
PER_STEP = 16  # prompts a step; of pairs for themselves, as many comparisons as these prompts have
KINDS = ("pointwise", "bradley_terry", "listwise", "plackett_luce")
MARGINS = {"none": 0.0, **reward.STRENGTH_STEP}


class Labels:
    """The judgements of one run: whole verdicts, choices with strength, and the gold judge's order."""

    def __init__(self, run: Path, seed: int) -> None:
        with Store.open(str(run / "feedback.db")) as store:
            ranked = [v for v in verdicts.verdicts(store, criterion="overall") if v.ranks and v.id]
            with store.reading() as connection:
                answers = list(items.get_answers(connection, None, None))
        self.prompts = {p.messages: p for p in read_prompts(run / "world" / "prompts.jsonl")}
        self.people = {one.name: one for one in world.annotators(8, seed)}
        self.ids = {(a.prompt_id, a.text): a for a in answers}
        first: dict[Any, Verdict] = {}
        for verdict in ranked:
            if len(verdict.answers) > 2:  # a ranking, not a comparison
                first.setdefault(verdict.messages, verdict)
        self.whole = [self.rated(v) for v in first.values()]

    def asked(self, verdict: Verdict) -> tuple[Prompt, list[Answer]]:
        prompt = self.prompts[verdict.messages]
        return prompt, [self.ids[prompt.id, text] for text in verdict.answers]

    def rated(self, verdict: Verdict) -> Verdict:
        """The ranking with the same annotator's ratings of the same answers."""
        prompt, answers = self.asked(verdict)
        person = self.people[verdict.source]
        return replace(verdict, ratings=tuple(float(person.rate(prompt, a).score) for a in answers))

    def compared(self, verdict: Verdict) -> list[Verdict]:
        """Every two of its answers compared by the same annotator, with strength 1, 2 or 3."""
        prompt, answers = self.asked(verdict)
        found = []
        for one, other in combinations(answers, 2):
            said = self.people[verdict.source].compare(prompt, one, other).preference
            if said:
                texts = (one.text, other.text) if said > 0 else (other.text, one.text)
                found.append(
                    replace(verdict, answers=texts, ranks=(0, 1), ratings=(), strength=float(abs(said)))
                )
        return found

    def gold(self, verdict: Verdict) -> Verdict:
        """The same answers in the gold judge's order."""
        prompt, answers = self.asked(verdict)
        grades = tuple(round(world.grade(prompt, a.text).total, 9) for a in answers)
        return replace(verdict, ranks=verdicts.ranked(grades), ratings=())


def trained(
    run: Path, trees: Sequence[Tree], loss: Loss, *, per_step: int, epochs: int, seed: int
) -> Iterator[Any]:
    """Yield the reward model after each pass over the trees."""
    model = LikelihoodScorer(hub.load_model(run / "sft" / "model"), seed=seed)
    optimizer = Optimizer(model, learning_rate=1e-3, weight_decay=1.0)
    orders = [np.random.default_rng([seed, e]).permutation(len(trees)) for e in range(epochs)]
    steps = [chosen for order in orders for chosen in np.array_split(order, -(-len(order) // per_step))]
    each = len(steps) // epochs
    factor = schedule("constant", steps=len(steps), warmup=10)
    batches = (microbatches([trees[i] for i in chosen], 8192) for chosen in steps)
    for step in fit(model, batches, loss, optimizer, learning_rate_factor=factor):
        if (step.number + 1) % each == 0:
            yield model


def measured(model: Any, trees: Sequence[Tree]) -> dict[str, Any]:
    """Loss (a prompt weighs 1), and the share of right pairs of each prompt."""
    scores = sequence_columns(model, trees, "score")
    each = [
        float(np.mean([np.sign(float(row[p.chosen] - row[p.rejected])) / 2 + 0.5 for p in tree.pairs]))
        for tree, row in zip(trees, scores, strict=True)
    ]
    loss = means(model, trees, {"loss": reward.bradley_terry})["loss"]
    return {"loss": round(loss, 4), "accuracy": [round(share, 4) for share in each]}


def kinds(
    run: Path, labels: Labels, n: int, epochs: int, seed: int, tokenizer: Any
) -> Iterator[dict[str, Any]]:
    """Every kind of objective on the same verdicts; accuracy on them, on held-out ones, and against gold."""
    known, unseen = split(labels.whole, 0.1, seed)
    known, unseen = known[:n], unseen[:150]
    sets = {
        "train": learnt_from(tokenizer, known, LENGTH, "listwise").trees,
        "heldout": learnt_from(tokenizer, unseen, LENGTH, "listwise").trees,
        "gold": learnt_from(tokenizer, [labels.gold(v) for v in unseen], LENGTH, "listwise").trees,
    }
    losses: dict[str, Loss] = {
        "pointwise": reward.pointwise,
        "bradley_terry": reward.bradley_terry,
        "listwise": reward.bradley_terry,
        "plackett_luce": reward.plackett_luce,
    }
    pairs = sum(len(t.pairs) for t in sets["train"]) / len(sets["train"])
    for kind in KINDS:
        trees = learnt_from(tokenizer, known, LENGTH, kind).trees  # type: ignore[arg-type]
        per_step = round(PER_STEP * pairs) if kind == "bradley_terry" else PER_STEP
        began = time.perf_counter()
        for epoch, model in enumerate(
            trained(run, trees, losses[kind], per_step=per_step, epochs=epochs, seed=seed), 1
        ):
            found = {name: measured(model, part) for name, part in sets.items()}
            row = {"seed": seed, "objective": kind, "epoch": epoch, "prompts": len(sets["train"])}
            seconds = round(time.perf_counter() - began, 1)
            yield {**row, "pairs": sum(len(t.pairs) for t in sets["train"]), "seconds": seconds, **found}


def margins(run: Path, labels: Labels, n: int, seed: int, tokenizer: Any) -> Iterator[dict[str, Any]]:
    """One pass over choices with strength, with and without margin; accuracy on held-out ones by strength."""
    known, unseen = split(labels.whole, 0.1, seed)
    known = known[:n]
    trees = learnt_from(tokenizer, [c for v in known for c in labels.compared(v)], LENGTH, "listwise").trees
    choices = [c for v in unseen for c in labels.compared(v)]
    parts = {
        f"{strength:g}": learnt_from(
            tokenizer, [c for c in choices if c.strength == strength], LENGTH, "listwise"
        ).trees
        for strength in (1.0, 2.0, 3.0)
    }
    tests = {
        **parts,
        "all": learnt_from(tokenizer, choices, LENGTH, "listwise").trees,
        "gold": learnt_from(tokenizer, [labels.gold(v) for v in unseen], LENGTH, "listwise").trees,
    }
    for name, margin in MARGINS.items():
        loss = partial(reward.graded_bradley_terry, margin=margin)
        for model in trained(run, trees, loss, per_step=PER_STEP, epochs=1, seed=seed):
            found = {part: measured(model, test)["accuracy"] for part, test in tests.items()}
            pairs = {part: sum(len(t.pairs) for t in test) for part, test in tests.items()}
            yield {
                "seed": seed,
                "margin": name,
                "prompts": len(trees),
                "accuracy": found,
                "heldout_pairs": pairs,
            }


def share(rows: Sequence[Sequence[float]]) -> str:
    """The mean over all prompts of all runs and draws, with its 95 % interval over prompts."""
    found = mean_interval(np.concatenate([np.asarray(row) for row in rows]))
    if found.low is None or found.high is None:
        return f"{found.value:.3f}"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def ahead(rows: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> str:
    """The same for the difference from `others`, prompt by prompt."""
    return share([np.subtract(row, other).tolist() for row, other in zip(rows, others, strict=True)])


def kinds_table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A row an objective and pass."""
    yield "| objective | pass | train | held out | less that of listwise | against gold | held-out loss |"
    yield "|---|---|---|---|---|---|---|"
    for epoch in sorted({r["epoch"] for r in rows}):
        same = [r for r in rows if r["epoch"] == epoch]
        by_kind = {kind: [r for r in same if r["objective"] == kind] for kind in KINDS}
        base = [r["heldout"]["accuracy"] for r in by_kind["listwise"]]
        for kind, some in by_kind.items():
            parts = {name: [r[name]["accuracy"] for r in some] for name in ("train", "heldout", "gold")}
            difference = "" if kind == "listwise" else ahead(parts["heldout"], base)
            loss = "" if kind == "pointwise" else f"{np.mean([r['heldout']['loss'] for r in some]):.3f}"
            cells = [share(parts["train"]), share(parts["heldout"]), difference, share(parts["gold"]), loss]
            yield f"| {kind} | {epoch} | {' | '.join(cells)} |"


def margins_table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A row a margin."""
    yield "| margin | strength 3 | 2 | 1 | all | all, less that of none | against gold |"
    yield "|---|---|---|---|---|---|---|"
    by_name = {name: [r["accuracy"] for r in rows if r["margin"] == name] for name in MARGINS}
    for name, some in by_name.items():
        cells = [share([found[part] for found in some]) for part in ("3", "2", "1", "all")]
        plain = [found["all"] for found in by_name["none"]]
        cells.append("" if name == "none" else ahead([found["all"] for found in some], plain))
        yield f"| {name} | {' | '.join(cells)} | {share([found['gold'] for found in some])} |"


def markdown(found: dict[str, Any]) -> str:
    """Both tables."""
    tables = [kinds_table(found["kinds"])] if found["kinds"] else []
    tables += [margins_table(found["margins"])] if found["margins"] else []
    return "\n\n".join("\n".join(table) for table in tables)


def by_row(found: dict[str, Any]) -> str:
    """As JSON, a row of figures a line."""
    parts = [f'"commit": {json.dumps(found["commit"])}']
    for name in ("kinds", "margins"):
        lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in found[name])
        parts.append(f'"{name}": [\n{lines}\n]')
    return "{" + ",\n".join(parts) + "}\n"


def replicates(found: dict[str, Any], given: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows that are still missing in `found`."""
    done = {(name, r["run"], r["draw"]) for name in ("kinds", "margins") for r in found[name]}
    for draw, run in product(range(given.draws), given.runs):
        seed = seed_of(run)
        labels, tokenizer = Labels(run, seed), hub.load_tokenizer(run / "sft" / "model")
        if ("kinds", seed, draw) not in done:
            for row in kinds(run, labels, given.prompts, given.epochs, seed + 100 * draw, tokenizer):
                yield "kinds", {"run": seed, "draw": draw, **row}
        if ("margins", seed, draw) not in done:
            for row in margins(run, labels, given.margin_prompts, seed + 100 * draw, tokenizer):
                yield "margins", {"run": seed, "draw": draw, **row}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--margin-prompts", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    process.prepare()
    found: dict[str, Any] = {"commit": commit(), "kinds": [], "margins": []}
    if given.out.exists():
        found = json.loads(given.out.read_text())
    for name, row in replicates(found, given):
        found[name].append(row)
        print(json.dumps(row), flush=True)
        given.out.write_text(by_row(found))
    print(markdown(found))


if __name__ == "__main__":
    main()
