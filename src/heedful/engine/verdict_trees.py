"""Whole judgements as trees: what an objective for reward models learns from, by the name of the objective."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from heedful.data import chat, verdicts
from heedful.engine.batch import Tree, answer_node, prompt_node
from heedful.engine.pairs import Compared, compared
from heedful.errors import UserError
from heedful.stats.ratings import standardised
from heedful.types import Message, Verdict

Objective = Literal["listwise", "bradley_terry", "plackett_luce", "pointwise"]


def learnt_from(
    tokenizer: Any, given: Sequence[Verdict], max_length: int, objective: Objective, *, ties: bool = False
) -> Compared:
    """The trees of an objective, each with the label `best` (1 for the best answers of its prompt)."""
    if objective in ("listwise", "bradley_terry"):
        pairs = verdicts.preferences(given, ties=ties)
        if not pairs:
            raise UserError("no verdict tells two answers apart, so there are no pairs to learn from")
        return with_best(compared(tokenizer, pairs, max_length, alone=objective == "bradley_terry"))
    build = placed if objective == "plackett_luce" else rated
    trees, too_long = build(tokenizer, given, max_length)
    if not trees:
        raise UserError(
            f"none of the {len(given)} verdicts can be used: all are longer than max_length={max_length}"
        )
    return Compared(trees, too_long)


def with_best(found: Compared) -> Compared:
    """Give trees of pairs the label `best`: the answers that win most of their pairs, less those they lose."""
    trees = []
    for tree in found.trees:
        worth = Counter(dict.fromkeys(range(len(tree.branches)), 0))
        for pair in tree.pairs:
            if pair.probability > 0.5:
                worth[pair.chosen] += 1
                worth[pair.rejected] -= 1
        trees.append(replace(tree, labels={**tree.labels, "best": _tops([*worth.values()])}))
    return replace(found, trees=trees)


def placed(tokenizer: Any, given: Sequence[Verdict], max_length: int) -> tuple[list[Tree], int]:
    """A tree a verdict, its answers with their `rank`; all verdicts on one prompt together weigh 1."""
    fitting, too_long = _fitting(tokenizer, verdicts.ordering(given), max_length)
    fitting = [v for v in fitting if len(v.answers) > 1]
    times = Counter(v.messages for v in fitting)
    trees = []
    for verdict in fitting:
        ranks = [float(r) for r in verdict.ranks or verdicts.ranked(verdict.ratings)]
        best = [float(r == min(ranks)) for r in ranks]
        labels = {"rank": ranks, "best": best}
        trees.append(_tree(tokenizer, verdict.messages, verdict.answers, labels, 1 / times[verdict.messages]))
    return trees, too_long


def rated(tokenizer: Any, given: Sequence[Verdict], max_length: int) -> tuple[list[Tree], int]:
    """A tree a prompt, each answer with its `rating`: the mean over annotators of their standardised ratings."""
    fitting, too_long = _fitting(tokenizer, [v for v in given if v.ratings], max_length)
    if not fitting and not too_long:
        raise UserError(
            "objective=pointwise learns from ratings, and no verdict has any: add a column 'ratings'"
        )
    marks = [mark for v in fitting for mark in v.ratings]
    scale = standardised(marks, [(v.source, v.criterion) for v in fitting for _ in v.ratings])
    told = iter(scale.tolist())
    ratings: dict[tuple[Message, ...], dict[str, list[float]]] = {}
    for verdict in fitting:
        answers = ratings.setdefault(verdict.messages, {})
        for text in verdict.answers:
            answers.setdefault(text, []).append(next(told))
    trees = []
    for messages, found in ratings.items():
        means = [sum(values) / len(values) for values in found.values()]
        labels = {"rating": means, "best": _tops(means)}
        trees.append(_tree(tokenizer, messages, tuple(found), labels, 1.0))
    return trees, too_long


def _tops(values: Sequence[float]) -> list[float]:
    """1 where the highest value is, else 0; all 0 where nothing tells answers apart."""
    return [float(v == max(values)) if min(values) < max(values) else 0.0 for v in values]


def _fitting(tokenizer: Any, given: Sequence[Verdict], max_length: int) -> tuple[list[Verdict], int]:
    """The verdicts whose every dialogue has at most `max_length` tokens, and how many have not."""
    found = []
    for verdict in given:
        room = max_length - len(chat.render_prompt(tokenizer, verdict.messages))
        if all(len(chat.answer_ids(tokenizer, text)) <= room for text in verdict.answers):
            found.append(verdict)
    return found, len(given) - len(found)


def _tree(
    tokenizer: Any,
    messages: tuple[Message, ...],
    answers: Sequence[str],
    labels: Mapping[str, Sequence[float]],
    weight: float,
) -> Tree:
    nodes = tuple(answer_node(chat.answer_ids(tokenizer, text)) for text in answers)
    return Tree(prompt_node(chat.render_prompt(tokenizer, messages)), nodes, weight=weight, labels=labels)
