"""The scale of a reward model: gain and bias that are folded into it, and what its margins mean as probabilities."""

from collections.abc import Sequence
from typing import Any

import torch

from heedful.engine.batch import Tree
from heedful.engine.score import sequence_columns
from heedful.nn.likelihood_scorer import LikelihoodScorer


def rescale(scorer: Any, *, gain: float, bias: float) -> None:
    """Make `scorer` say gain * score + bias.

    The gain goes into the head and is kept in the configuration as `score_gain`: sigmoid(margin / score_gain) is the
    probability that was learnt. The head has no bias: `score_mean` is subtracted by those who score.
    """
    with torch.no_grad():
        for part in scorer.head if isinstance(scorer, LikelihoodScorer) else [scorer.score.weight]:
            part.mul_(gain)
    scorer.config.score_mean = getattr(scorer.config, "score_mean", 0.0) * gain - bias
    scorer.config.score_gain = getattr(scorer.config, "score_gain", 1.0) * gain


def standardise(scorer: Any, trees: Sequence[Tree], *, mean: float = 0.0, deviation: float = 1.0) -> None:
    """Rescale so that the scores of all answers in `trees` have the given mean and deviation.

    gain = new deviation / old one, bias = new mean - gain * old one (Ziegler et al. 2019, section 2.1).
    """
    scores = flat_scores(scorer, trees)
    gain = deviation / max(float(scores.std()), 1e-6)
    rescale(scorer, gain=gain, bias=mean - gain * float(scores.mean()))


def flat_scores(scorer: Any, trees: Sequence[Tree]) -> torch.Tensor:
    """Scores of every sequence of every tree, in order."""
    return torch.stack([s for tree in sequence_columns(scorer, trees, "score") for s in tree])
