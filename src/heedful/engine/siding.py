"""Whether a policy sides with people: what it has made likelier, of the answers that they told apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from heedful.engine.batch import Tree
from heedful.engine.heldout import accurate
from heedful.engine.score import sequence_columns


def answers_logp(model: Any, trees: Sequence[Tree]) -> list[list[float]]:
    """The log-prob of every answer of every tree, in nats."""
    return [[float(tokens.sum()) for tokens in row] for row in sequence_columns(model, trees, "logp")]


def siding(
    policy: Sequence[Sequence[float]], baseline: Sequence[Sequence[float]], trees: Sequence[Tree]
) -> dict[str, Any]:
    """The share of judgements whose chosen answer gained more log-prob from the baseline than the rejected one.

    It is the accuracy of the policy's implicit reward (Rafailov et al. 2023, section 4, arXiv:2305.18290), with a 95 %
    interval over prompts.
    """
    margin, prompt = [], []
    for number, (tree, now, before) in enumerate(zip(trees, policy, baseline, strict=True)):
        gained = np.subtract(now, before)
        for pair in tree.pairs:
            margin.append(gained[pair.chosen] - gained[pair.rejected])
            prompt.append(number)
    return accurate(np.asarray(margin), np.asarray(prompt))
