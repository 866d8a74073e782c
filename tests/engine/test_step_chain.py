"""A chain of steps that go wrong by chance: what a judge of steps knows of a solution that one of outcomes does not."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from heedful.data.solutions import up_to_the_first_error
from heedful.engine.process_reward import whole
from heedful.stats.overoptimisation import best_of
from heedful.types import Message, Solution

Floats = NDArray[np.float64]
RIGHT = np.asarray([0.95, 0.8, 0.55])  # P(a step is right) by the kind of step
KINDS = list(product(range(len(RIGHT)), repeat=4))  # every solution of four steps, by the kinds of its steps
TRUE = np.asarray([RIGHT[list(kinds)].prod() for kinds in KINDS])  # P(a solution is right)
ASK = (Message("user", "?"),)


def scored(right: Floats, how: str) -> Floats:
    """Every solution's score from the chances of its steps."""
    return np.asarray([whole(right[list(kinds)].tolist(), how) for kinds in KINDS])  # type: ignore[arg-type]


def earned(score: Floats, n: int = 8) -> float:
    """P(right) of the best of n different solutions by this score, exactly."""
    return float(best_of(score[None], TRUE[None], n)[0])


def learnt(solutions: int, seed: int) -> tuple[Floats, Floats]:
    """Chances of steps from labels up to the first error, and of solutions from outcomes, of the same solutions."""
    draw = np.random.default_rng(seed)
    steps, outcomes = np.ones((len(RIGHT), 2)), np.ones((len(KINDS), 2))  # one right and one wrong beforehand
    for number in draw.integers(len(KINDS), size=solutions):
        kinds = KINDS[number]
        labels = tuple(1 if right else -1 for right in draw.random(4) < RIGHT[list(kinds)])
        told = up_to_the_first_error(Solution(ASK, ("step",) * 4, labels))
        for kind, label in zip(kinds, told, strict=False):
            steps[kind, int(label == 0.0)] += 1
        outcomes[number, int(-1 in labels)] += 1
    return steps[:, 0] / steps.sum(1), outcomes[:, 0] / outcomes.sum(1)


def test_the_product_of_the_chances_of_steps_ranks_solutions_exactly() -> None:
    np.testing.assert_allclose(scored(RIGHT, "product"), TRUE)
    best = earned(TRUE)
    assert earned(scored(RIGHT, "product")) == pytest.approx(best)
    for how in ("minimum", "last"):
        assert TRUE.mean() < earned(scored(RIGHT, how)) < best - 1e-3


def test_steps_that_are_labelled_up_to_the_first_error_give_their_chances_without_bias() -> None:
    right, _ = learnt(20_000, seed=0)
    np.testing.assert_allclose(right, RIGHT, atol=0.01)


def test_labels_of_steps_choose_better_than_as_many_outcomes() -> None:
    """A judge of outcomes has to meet a solution to know it; one of steps knows it by its parts."""
    by_steps, by_outcomes = [], []
    for seed in range(20):
        steps, outcomes = learnt(100, seed)
        by_steps.append(earned(scored(steps, "product")))
        by_outcomes.append(earned(outcomes))
    assert np.mean(by_steps) > earned(TRUE) - 0.02
    assert TRUE.mean() < np.mean(by_outcomes) < np.mean(by_steps) - 0.05
