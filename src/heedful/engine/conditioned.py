"""Answers of known quality as trees that are told their quality: prefixes, points, reward tokens, hindsight, C-RLFT."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from heedful.data import chat, conditions
from heedful.engine.batch import Node, Tree, answer_node, prompt_node
from heedful.engine.dialogues import conversations
from heedful.engine.pairs import with_reference
from heedful.engine.randomness import key
from heedful.engine.score import sequence_columns
from heedful.errors import UserError
from heedful.types import Conversation, Message, Rated

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Told:
    """Trees whose answers are told their quality, prompt and level of each where known, and how many did not fit."""

    trees: list[Tree]
    too_long: int
    messages: tuple[tuple[Message, ...], ...] = ()
    levels: tuple[int, ...] = ()


def levels_of(ratings: Sequence[float], levels: int) -> list[int]:
    """The level of each answer, 0 the worst: equal shares in the order of ratings, the rest in the worst.

    Where there are no more different ratings than levels, equal ratings are one level, and the levels are the
    highest. Otherwise quantiles as in Lu et al. 2022 (Quark, arXiv:2205.13636).
    """
    values = sorted(set(ratings))
    if len(values) <= levels:
        return [levels - len(values) + values.index(r) for r in ratings]
    share = len(ratings) // levels
    order = sorted(range(len(ratings)), key=lambda i: (-ratings[i], i))
    found = [0] * len(ratings)
    for place, i in enumerate(order):
        found[i] = levels - 1 - min(place // share, levels - 1)
    return found


def told(tokenizer: Any, rated: Sequence[Rated], levels: Sequence[int], max_length: int) -> Told:
    """One tree for the answers of one level to one prompt, behind the prompt as the template asks for that level."""
    known = conditions.known_to(tokenizer)
    groups: dict[tuple[tuple[Message, ...], int], list[Node]] = {}
    too_long = 0
    for r, level in zip(rated, levels, strict=True):
        prompt, ids = prompt_of(tokenizer, r.messages, known[level]), chat.answer_ids(tokenizer, r.answer)
        if len(prompt) + len(ids) > max_length:
            too_long += 1
        else:
            groups.setdefault((r.messages, level), []).append(answer_node(ids))
    trees = [
        Tree(prompt_node(prompt_of(tokenizer, messages, known[level])), tuple(nodes))
        for (messages, level), nodes in groups.items()
    ]
    _some(trees, too_long, max_length)
    return Told(trees, too_long, tuple(m for m, _ in groups), tuple(level for _, level in groups))


def chained(tokenizer: Any, rated: Sequence[Rated], levels: Sequence[int], max_length: int) -> Told:
    """Chains of hindsight: each answer told its quality, and a poor and a good one in a row, in both orders.

    Loss is on the answers, not on what tells their quality. Liu et al. 2023 (arXiv:2302.02676). The first answers to
    a prompt of each level are one pair.
    """
    known = conditions.known_to(tokenizer)
    best: dict[tuple[Message, ...], dict[int, str]] = {}
    for r, level in zip(rated, levels, strict=True):
        best.setdefault(r.messages, {}).setdefault(level, r.answer)
    trees, too_long = [], 0
    for messages, answers in best.items():
        orders: list[tuple[int, ...]] = [(level,) for level in answers]
        if len(answers) == 2:
            orders += [(0, 1), (1, 0)]
        for order in orders:
            prompt = prompt_of(tokenizer, messages, known[order[0]])
            node = _chain(tokenizer, [(known[level], answers[level]) for level in order])
            if len(prompt) + len(node.ids) > max_length:
                too_long += 1
            else:
                trees.append(Tree(prompt_node(prompt), (node,)))
    return _some(trees, too_long, max_length)


def _chain(tokenizer: Any, told: Sequence[tuple[str, str]]) -> Node:
    """Answers one after the other, each after the first behind what tells its quality, which is not trained."""
    ids: list[int] = []
    trained: list[bool] = []
    for number, (marker, text) in enumerate(told):
        before = chat.text_ids(tokenizer, marker) if number else ()
        answer = chat.answer_ids(tokenizer, text)
        ids += [*before, *answer]
        trained += [*[False] * len(before), *[True] * len(answer)]
    return Node(np.asarray(ids, dtype=np.int64), np.asarray(trained, dtype=bool))


def classed(
    tokenizer: Any,
    dialogues: Sequence[Conversation],
    experts: Sequence[str],
    max_length: int,
    *,
    weight: float,
) -> Told:
    """Whole dialogues of two classes by their source, told which in every turn; the lower class weighs `weight`.

    C-RLFT: sum_t w CE / sum w, w = 1 for experts. Wang et al. 2023 (OpenChat, arXiv:2309.11235).
    """
    trees: list[Tree] = []
    too_long = 0
    for level, marker in enumerate(conditions.known_to(tokenizer)):
        part = [d for d in dialogues if (d.source in experts) == bool(level)]
        if not part:
            raise UserError(
                "every dialogue is an expert's, so there is nothing to tell apart: look at `experts`"
            )
        if not level:
            part = [replace(d, weight=d.weight * weight) for d in part]
        conditions.ask(tokenizer, marker)
        found, left_out = conversations(tokenizer, part, max_length)
        trees, too_long = [*trees, *found], too_long + left_out
    conditions.unasked(tokenizer)
    return _some(trees, too_long, max_length)


def weighed(found: Told, weight: float) -> Told:
    """C-RLFT's weights on rated answers: 1 where the highest level is told, `weight` elsewhere."""
    top = max(found.levels)
    trees = [
        replace(t, weight=1.0 if level == top else weight)
        for t, level in zip(found.trees, found.levels, strict=True)
    ]
    return replace(found, trees=trees)


def forgetful(
    trees: Sequence[Tree], numbers: Sequence[int], step: int, *, ratio: float, seed: int
) -> list[Tree]:
    """Trees in which a share of the tokens, drawn from 0 to `ratio` for each tree, is attended to by none.

    So an answer is not copied from the one before it. A tree's first token is always seen. Liu et al. 2023, section 2
    (arXiv:2302.02676), with the forgetful causal mask of arXiv:2210.13432.
    """
    return [_forgetting(t, ratio, key("mask", seed, step, n)) for t, n in zip(trees, numbers, strict=True)]


def _forgetting(tree: Tree, ratio: float, seed: int) -> Tree:
    rng = np.random.default_rng(seed)
    share = rng.uniform(0, ratio)
    prompt, *branches = (
        replace(node, unseen=rng.random(len(node.ids)) < share) for node in (tree.prompt, *tree.branches)
    )
    assert prompt.unseen is not None
    prompt.unseen[0] = False
    return replace(tree, prompt=prompt, branches=tuple(branches))


def behind(tokenizer: Any, found: Told, marker: str | None) -> list[Tree]:
    """The same answers behind prompts that ask for `marker`, or that do not tell their quality."""
    return [
        Tree(prompt_node(prompt_of(tokenizer, messages, marker)), tree.branches)
        for messages, tree in zip(found.messages, found.trees, strict=True)
    ]


def likelihoods(model: Any, trees: Sequence[Tree]) -> Values:
    """The log-prob of each answer, in nats."""
    return np.asarray([float(logp.sum()) for row in sequence_columns(model, trees, "logp") for logp in row])


def learnt(model: Any, tokenizer: Any, found: Told, before: Values) -> dict[str, float]:
    """What became of answers that were not learnt from, in nats an answer.

    `best_drift`: how much likelier the best are, asked for, than they were `before`; `best_gap` and `worst_gap`: how
    much likelier the best and the worst are where the best is asked for than where the worst is.
    """
    known = conditions.known_to(tokenizer)
    best, worst = (likelihoods(model, behind(tokenizer, found, m)) for m in (known[-1], known[0]))
    level = np.repeat(found.levels, [len(t.branches) for t in found.trees])
    top, bottom = level == level.max(), level == level.min()
    return {
        "best_drift": float((best - before)[top].mean()),
        "best_gap": float((best - worst)[top].mean()),
        "worst_gap": float((best - worst)[bottom].mean()),
    }


def with_plain_reference(model: Any, tokenizer: Any, found: Told, *, cache: Path | None = None) -> Told:
    """Give each answer the log-probs that `model` has now without being told its quality, or had, in a `cache`."""
    referred = with_reference(model, behind(tokenizer, found, None), cache=cache)
    trees = [replace(t, branches=r.branches) for t, r in zip(found.trees, referred, strict=True)]
    return replace(found, trees=trees)


@dataclass(frozen=True)
class Reference:
    """The start as it was, told nothing: it gives a step's answers its states, for the KL over the vocabulary."""

    model: Any
    trees: Sequence[Tree]

    def __call__(self, trees: Sequence[Tree], numbers: Sequence[int], step: int) -> list[Tree]:
        """The trees of a step with `ref_state` [n, D] of each answer."""
        found = sequence_columns(self.model, [self.trees[i] for i in numbers], "state")
        return [
            replace(tree, branches=tuple(map(_with_state, tree.branches, row)))
            for tree, row in zip(trees, found, strict=True)
        ]


def _with_state(node: Node, state: torch.Tensor) -> Node:
    return replace(node, columns={**node.columns, "ref_state": state.float().numpy()})


def prompt_of(tokenizer: Any, messages: Sequence[Message], marker: str | None) -> tuple[int, ...]:
    """The tokens of a prompt as the template asks for `marker`, or for nothing."""
    if marker is None:
        return chat.render_prompt(tokenizer, messages, conditions.plain(tokenizer.chat_template))
    return chat.render_prompt(tokenizer, messages, conditions.asking(tokenizer, marker))


def add_tokens(model: Any, tokenizer: Any, markers: Sequence[str]) -> None:
    """Make each marker one token, whose embedding starts as the mean of all."""
    before = len(tokenizer)
    tokenizer.add_tokens(list(markers), special_tokens=True)
    size = max(len(tokenizer), model.config.get_text_config().vocab_size)
    model.resize_token_embeddings(size, mean_resizing=False)
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            layer.weight[before : len(tokenizer)] = layer.weight[:before].mean(0)


def _some(trees: list[Tree], too_long: int, max_length: int) -> Told:
    if not trees:
        raise UserError(f"all {too_long} answers are longer than max_length={max_length} tokens: raise it")
    return Told(trees, too_long)
