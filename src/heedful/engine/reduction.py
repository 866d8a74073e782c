"""What a step's policy loss is divided by, and which answers need not be computed for it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch

from heedful.engine.batch import Packed, Tree, trained_tokens

Reduction = Literal["token", "sequence", "constant"]


def reduced(
    batch: Sequence[Packed], trees: Sequence[Tree], reduction: Reduction, *, longest: int
) -> list[Packed]:
    """Weigh the tokens of a step's micro-batches so that its loss is the mean that `reduction` names.

    `token`: over all tokens; `sequence`: over answers, of each answer's mean (Shao et al. 2024, eq. 3,
    arXiv:2402.03300); `constant`: every answer counts as `longest` tokens, however short it is (Liu et al. 2025,
    section 3.2, arXiv:2503.20783). `trees` are all of the step, also those that are in no micro-batch.
    """
    if reduction == "sequence":
        batch = [_of_equal_answers(packed) for packed in batch]
    answers = sum(len(tree.branches) for tree in trees)
    divisor = {
        "token": trained_tokens(trees),
        "sequence": answers,
        "constant": answers * longest,
    }[reduction]
    missing = divisor - sum(packed.present("token") for packed in batch)
    return [replace(batch[0], absent={"token": missing}), *batch[1:]]


def _of_equal_answers(packed: Packed) -> Packed:
    """Tokens weighed so that each answer's weights sum to one."""
    lengths = torch.bincount(packed.sequence, minlength=len(packed.last))
    weight = packed.weights["token"] / lengths[packed.sequence]
    return replace(packed, weights={**packed.weights, "token": weight})


def informative(trees: Sequence[Tree]) -> list[Tree]:
    """The trees without the answers whose advantages are all zero.

    They add exactly nothing to a clipped surrogate and to its gradient, but something to every other loss. When
    nothing is left, the smallest tree stays: its gradient is zero, and a step with it is what it would have been.
    """
    kept = []
    for tree in trees:
        branches = tuple(b for b in tree.branches if b.columns["advantage"].any())
        if branches:
            kept.append(tree if len(branches) == len(tree.branches) else replace(tree, branches=branches))
    return kept or [min(trees, key=lambda tree: tree.size)]
