"""Answers that are called good or bad each by itself, as trees, and KTO's baseline."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from heedful.data import chat
from heedful.data.packing import shuffled
from heedful.engine.batch import Node, Tree, answer_node, prompt_node
from heedful.engine.randomness import key
from heedful.engine.score import sequence_columns
from heedful.errors import UserError
from heedful.types import Message, Rated

GOOD = 0.5  # ratings above are good, below bad; an answer that won half of its comparisons is neither


@dataclass(frozen=True)
class Labelled:
    """Trees whose answers have a `label` (1 or 0), and each prompt once more with answers to another prompt."""

    trees: list[Tree]
    mismatched: list[Tree]
    too_long: int


def labelled(tokenizer: Any, rated: Sequence[Rated], max_length: int, seed: int) -> Labelled:
    """Group answers by prompt: one tree each. The answers of the next tree in a shuffled order are its mismatch."""
    groups: dict[tuple[Message, ...], dict[str, float]] = {}
    for r in rated:
        if r.rating != GOOD:
            groups.setdefault(r.messages, {})[r.answer] = float(r.rating > GOOD)
    trees, too_long = [], 0
    for messages, answers in groups.items():
        prompt = chat.render_prompt(tokenizer, messages)
        nodes: dict[str, Node] = {}
        for text in answers:
            ids = chat.answer_ids(tokenizer, text)
            if len(prompt) + len(ids) > max_length:
                too_long += 1
            else:
                nodes[text] = answer_node(ids)
        if nodes:
            labels = {"label": [answers[text] for text in nodes]}
            trees.append(Tree(prompt_node(prompt), tuple(nodes.values()), labels=labels))
    if len(trees) < 2:
        raise UserError(
            f"{len(trees)} prompts with answers of at most max_length={max_length} tokens are too few, since KTO "
            "compares with answers to other prompts: give more data, or raise heldout_ratio or max_length"
        )
    order = shuffled(len(trees), key("mismatch", seed), 0)
    others = dict(zip(order.tolist(), [*order[1:].tolist(), int(order[0])], strict=True))
    mismatched = [_mismatched(t, trees[others[i]], max_length) for i, t in enumerate(trees)]
    return Labelled(trees, mismatched, too_long)


def _mismatched(tree: Tree, other: Tree, max_length: int) -> Tree:
    room = max_length - len(tree.prompt.ids)
    return Tree(tree.prompt, tuple(answer_node(node.ids[:room]) for node in other.branches))


def with_baseline(model: Any, trees: Sequence[Tree], mismatched: Sequence[Tree]) -> list[Tree]:
    """Give every answer the batch's `baseline`: the mean log-ratio of the mismatched answers, as the model is now."""
    found = sequence_columns(model, mismatched, "logp")
    ratios = [
        float((logp - logp.new_tensor(node.columns["ref_logp"])).sum())
        for tree, row in zip(mismatched, found, strict=True)
        for node, logp in zip(tree.branches, row, strict=True)
    ]
    value = sum(ratios) / len(ratios)
    return [replace(t, labels={**t.labels, "baseline": [value] * len(t.branches)}) for t in trees]
