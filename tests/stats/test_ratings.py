"""Ratings of people with different habits on one scale."""

import pytest

from heedful.stats.ratings import standardised


def test_each_annotator_by_hand() -> None:
    # ann: 1, 3, 5 (mean 3, deviation sqrt(8/3)); bob says 4 to everything; cy: 6, 7 (mean 6.5, deviation .5).
    found = standardised([1, 4, 3, 6, 5, 4, 7], ["ann", "bob", "ann", "cy", "ann", "bob", "cy"])
    far = (3 / 2) ** 0.5
    assert found.tolist() == pytest.approx([-far, 0, 0, -1, far, 0, 1])


def test_habits_of_scale_and_centre_make_no_difference() -> None:
    marks = [2.0, 5.0, 3.0, 7.0]
    alike = standardised([*marks, *(10 - 0.5 * (7 - m) for m in marks)], ["a"] * 4 + ["b"] * 4)
    assert alike[:4].tolist() == pytest.approx(alike[4:].tolist())
