"""From optimiser steps to the points of a plot."""

import fake_run
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.report import digits, series


def test_steps_of_one_iteration_become_one_row_and_the_rest_is_averaged() -> None:
    rows = fake_run.rl_rows(5)
    merged = series.iterations(rows)
    assert [row["step"] for row in merged] == [1, 2, 3, 4, 5]
    assert [row["kl"] for row in merged] == pytest.approx([row["kl"] for row in rows[::4]])
    assert merged[1]["clip_ratio"] == pytest.approx(np.mean([row["clip_ratio"] for row in rows[4:8]]))


def test_values_that_are_no_numbers_are_left_out() -> None:
    rows = [
        {"step": 0, "loss": 1.0},
        {"step": 1, "loss": float("nan")},
        {"step": 2},
        {"step": 3, "loss": 2.0},
    ]
    x, y = series.points(rows, "loss")
    assert (x.tolist(), y.tolist()) == ([0, 3], [1, 2])


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=900))
def test_thinning_keeps_the_mean_and_smoothing_keeps_the_range(values: list[float]) -> None:
    y = np.asarray(values)
    x, thin = series.thinned(np.arange(len(y), dtype=np.float64), y, most=50)
    assert len(thin) == min(50, len(y))
    assert (np.diff(x) > 0).all()
    if len(y) % 50 == 0:
        assert thin.mean() == pytest.approx(y.mean(), abs=1e-6)
    smooth = series.smoothed(y)
    assert len(smooth) == len(y)
    assert smooth.min() >= y.min() - 1e-6
    assert smooth.max() <= y.max() + 1e-6


def test_smoothing_follows_a_straight_line_exactly() -> None:
    line = np.linspace(5, 1, 400)
    assert series.smoothed(line) == pytest.approx(line)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (-1e-6, "0"),
        (0.05, "0.05"),
        (0.0697, "0.0697"),
        (0.78, "0.78"),
        (5.3, "5.30"),
        (24.8, "24.8"),
        (412.4, "412"),
        (15360, "15,360"),
        (-2.217, "-2.22"),
    ],
)
def test_numbers_as_people_read_them(value: float, shown: str) -> None:
    assert digits.number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.84, "1.8 s"), (9.96, "10 s"), (59.7, "1 min 0 s"), (95.2, "1 min 35 s"), (3700, "1 h 1 min")],
)
def test_times_as_people_read_them(value: float, shown: str) -> None:
    assert digits.seconds(value).replace(digits.SPACE, " ") == shown
