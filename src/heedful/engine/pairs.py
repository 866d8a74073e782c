"""Preferences as trees: every answer of a prompt is computed once, all its comparisons are one batch element."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from heedful.data import chat
from heedful.data.packing import shuffled
from heedful.engine.batch import Node, Pair, Tree, answer_node, prompt_node
from heedful.engine.randomness import key
from heedful.engine.reference import fixed_logp
from heedful.errors import UserError
from heedful.types import Message, Preference, Prompt, Rated, Solution, Verdict

Asked = TypeVar("Asked", Preference, Prompt, Verdict, Solution, Rated)


@dataclass(frozen=True)
class Compared:
    """Trees of compared answers, and how many preferences were left out because they are too long."""

    trees: list[Tree]
    too_long: int


def compared(
    tokenizer: Any, preferences: Sequence[Preference], max_length: int, *, alone: bool = False
) -> Compared:
    """Group preferences by prompt: one tree each, in which a comparison weighs 1 / comparisons of the prompt.

    `alone` makes every preference a tree of its own, which weighs 1.
    """
    groups: dict[tuple[tuple[Message, ...], int], list[Preference]] = {}
    for number, preference in enumerate(preferences):
        groups.setdefault((preference.messages, number if alone else 0), []).append(preference)
    trees, too_long = [], 0
    for (messages, _), group in groups.items():
        prompt = chat.render_prompt(tokenizer, messages)
        numbers: dict[str, int] = {}
        nodes: list[Node] = []
        pairs: list[Pair] = []
        for preference in group:
            new = {
                text: chat.answer_ids(tokenizer, text)
                for text in (preference.chosen, preference.rejected)
                if text not in numbers
            }
            if any(len(prompt) + len(answer) > max_length for answer in new.values()):
                too_long += 1
                continue
            for text, ids in new.items():
                numbers[text] = len(nodes)
                nodes.append(answer_node(ids))
            if preference.chosen != preference.rejected:
                places = numbers[preference.chosen], numbers[preference.rejected]
                pairs.append(Pair(*places, strength=preference.strength, probability=preference.probability))
        if pairs:
            weighed = tuple(replace(pair, weight=1 / len(pairs)) for pair in pairs)
            trees.append(Tree(prompt_node(prompt), tuple(nodes), weighed))
    if not trees:
        raise UserError(
            f"none of the {len(preferences)} preferences can be used: all are longer than max_length={max_length} "
            "or compare an answer with itself"
        )
    return Compared(trees, too_long)


def fits(tokenizer: Any, preference: Preference, max_length: int) -> bool:
    """Whether both dialogues have at most `max_length` tokens."""
    prompt = len(chat.render_prompt(tokenizer, preference.messages))
    answers = (preference.chosen, preference.rejected)
    return prompt + max(len(chat.answer_ids(tokenizer, a)) for a in answers) <= max_length


def split(rows: Sequence[Asked], ratio: float, seed: int) -> tuple[list[Asked], list[Asked]]:
    """Split by prompt, never by row: (train, held out), neither of them empty.

    Whether a dialogue is held out depends on its content and the seed alone, unless one side stayed empty.
    """
    places = {row.messages: _place(row.messages, seed) for row in rows}
    if len(places) < 2:
        raise UserError(f"{len(places)} prompts are too few to hold some of them out: give more data")
    lowest, *_, highest = sorted(places.values())
    cut = min(max(ratio * 2.0**63, lowest + 1), highest)
    train = [row for row in rows if places[row.messages] >= cut]
    return train, [row for row in rows if places[row.messages] < cut]


def _place(messages: tuple[Message, ...], seed: int) -> int:
    """Where a dialogue lies among all that could be: evenly spread over [0, 2^63)."""
    return key("heldout", seed, [(m.role, m.content) for m in messages])


def ranked(trees: Sequence[Tree]) -> list[Tree]:
    """Give the answers of every tree their `rank` (0 is best): by comparisons won less lost, equal ones alike."""
    return [t if "rank" in t.labels else replace(t, labels={**t.labels, "rank": _ranks(t)}) for t in trees]


def _ranks(tree: Tree) -> list[float]:
    net = np.zeros(len(tree.branches))
    for pair in tree.pairs:
        net[pair.chosen] += 1
        net[pair.rejected] -= 1
    places = {value: float(place) for place, value in enumerate(sorted(set(net), reverse=True))}
    return [places[value] for value in net]


def borrow(trees: Sequence[Tree], n: int, seed: int) -> list[Tree]:
    """Put the best answers to `n` other prompts below the answers of each tree, as answers to its own prompt.

    Each is rejected in favour of the tree's best answer, and ranked last: what would fit any prompt gains nothing.
    """
    if not n:
        return list(trees)
    given = ranked(trees)
    best = [t.branches[int(np.argmin(t.labels["rank"]))] for t in given]
    order = shuffled(len(trees), key("borrow", seed), 0)
    place = {int(i): at for at, i in enumerate(order)}
    found = []
    for number, tree in enumerate(given):
        others = (best[order[(place[number] + turn) % len(order)]] for turn in range(1, len(order)))
        own = {b.ids.tobytes() for b in tree.branches}
        strangers: dict[bytes, Node] = {}
        for node in others:
            if len(strangers) == n:
                break
            if node.ids.tobytes() not in own:
                strangers.setdefault(node.ids.tobytes(), node)
        found.append(_joined(tree, list(strangers.values())))
    return found


def _joined(tree: Tree, strangers: Sequence[Node]) -> Tree:
    rank = [*tree.labels["rank"], *[max(tree.labels["rank"]) + 1] * len(strangers)]
    first, best = len(tree.branches), int(np.argmin(tree.labels["rank"]))
    pairs = [*tree.pairs, *(Pair(best, first + i) for i in range(len(strangers)))]
    weighed = tuple(replace(p, weight=1 / len(pairs)) for p in pairs)
    return replace(
        tree, branches=(*tree.branches, *strangers), pairs=weighed, labels={**tree.labels, "rank": rank}
    )


def with_reference(model: Any, trees: Sequence[Tree], *, cache: Path | None = None) -> list[Tree]:
    """Give every answer token the log-prob that the model has now, before it is trained.

    What `cache` holds from an earlier time is not computed again (`engine/reference.py`).
    """
    found = fixed_logp(model, trees, cache)
    return [
        replace(
            tree,
            branches=tuple(
                replace(b, columns={**b.columns, "ref_logp": logp.numpy()})
                for b, logp in zip(tree.branches, row, strict=True)
            ),
        )
        for tree, row in zip(trees, found, strict=True)
    ]
