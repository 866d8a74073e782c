"""Several rewards as one, and what a text alone tells: numbers by hand."""

import math

import numpy as np
import pytest

from heedful.tasks import combine, shaping

ONE, OTHER = [1.0, 2.0, 3.0], [30.0, 10.0, 20.0]


def test_weights_and_normalisation() -> None:
    assert combine.weighted([ONE, OTHER], [2, -0.1]).tolist() == pytest.approx([-1.0, 3.0, 4.0])
    z = math.sqrt(3 / 2)
    assert combine.normalised([ONE, OTHER], [1, 1]).tolist() == pytest.approx([0, -z, z])
    scaled = combine.normalised([ONE, 1000 * np.asarray(OTHER) - 7], [1, 1])
    assert scaled.tolist() == pytest.approx([0, -z, z])
    assert combine.whitened([[5.0, 5.0]]).tolist() == [[0.0, 0.0]]


def test_the_gate_takes_safety_below_the_threshold_and_on_risky_prompts() -> None:
    # sigmoid(-1.8) = 0.142 < 0.15 < 0.154 = sigmoid(-1.7). Rewards taken: safe -1.8, helpful 2, safe 5, helpful 4.
    safe, helpful = [-1.8, -1.7, 5.0, 0.0], [9.0, 2.0, 9.0, 4.0]
    found = combine.gated(safe, helpful, [False, False, True, False])
    taken = np.asarray([-1.8, 2.0, 5.0, 4.0])
    assert found.tolist() == pytest.approx(((taken - taken.mean()) / taken.std()).tolist())


def test_the_worst_and_the_certain_of_an_ensemble() -> None:
    values = [[1.0, 4.0], [3.0, 4.0], [2.0, 1.0]]
    assert combine.minimum(values).tolist() == [1.0, 1.0]
    # Means 2 and 3; population variances 2/3 and 2.
    assert combine.certain(values, coefficient=0.3).tolist() == pytest.approx([1.8, 2.4])


def test_what_a_text_tells() -> None:
    assert shaping.length(["", "abcd", "abcdefg"], free=4) == [0.0, 0.0, 3.0]
    # Words: a b a b a has the bigrams ab ba ab ba, two of four again; a text without spaces is cut into characters.
    assert shaping.repetition(["a b a b a", "abab", "one two"], n=2) == pytest.approx([0.5, 1 / 3, 0.0])
    assert shaping.form(["42", "42!", "4\n2"], pattern=r"\d.?\d") == [1.0, 0.0, 1.0]
