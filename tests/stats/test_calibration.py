"""Calibration and ranking figures against hand-made numbers, brute force and perfect forecasters."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from heedful.stats import accuracy, auc, brier, calibration_curve, expected_calibration_error, wilson


def test_four_forecasts_by_hand() -> None:
    p, y = [0.1, 0.3, 0.9, 0.9], [0, 1, 1, 0.5]
    assert brier(p, y).value == pytest.approx((0.01 + 0.49 + 0.01 + 0.16) / 4)
    assert expected_calibration_error(p, y, bins=2).value == pytest.approx(
        (abs(0.4 - 1) + abs(1.8 - 1.5)) / 4
    )
    low, high = calibration_curve(p, y, bins=2)
    assert (low.low, low.high, low.predicted) == (0.0, 0.5, pytest.approx(0.2))
    assert low.observed == wilson(1, 2)
    assert (high.predicted, high.observed.value, high.observed.n) == (pytest.approx(0.9), 0.75, 2)
    assert [one.low for one in calibration_curve([0.0, 1.0], [0, 1])] == [0.0, 0.9]


def test_a_forecaster_who_knows_the_chances_is_calibrated_and_an_overconfident_one_is_not() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(20_000)
    y = rng.random(20_000) < p
    assert expected_calibration_error(p, y).value < 0.015  # type: ignore[operator]
    assert all(one.observed.low <= one.predicted + 0.01 for one in calibration_curve(p, y))  # type: ignore[operator]
    sharper = 1 / (1 + ((1 - p) / p) ** 3)
    assert expected_calibration_error(sharper, y).value > 0.08  # type: ignore[operator]
    assert brier(p, y).value < brier(sharper, y).value  # type: ignore[operator]
    assert brier(np.full(4, 0.5), [0, 1, 1, 0]).value == 0.25


def test_intervals_on_request_with_whole_prompts() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(300)
    y = rng.random(300) < p
    found = brier(p, y, clusters=[n // 10 for n in range(300)], resamples=200)
    assert found.low < found.value < found.high  # type: ignore[operator]
    assert brier(p, y).low is None
    assert expected_calibration_error(p, y, resamples=50).low is not None
    assert brier([], []).reason
    assert expected_calibration_error([], []).value is None
    with pytest.raises(ValueError, match="between 0 and 1"):
        brier([1.2], [1])
    with pytest.raises(ValueError, match="shape"):
        brier([0.5], [1, 0])


def test_auc_is_the_share_of_pairs_in_order_and_delongs_variance_is_that_of_its_placements() -> None:
    rng = np.random.default_rng(2)
    x = np.round(rng.normal(size=150), 1)
    y = rng.random(150) < 1 / (1 + np.exp(-x))
    found = auc(x, y)
    assert found.value is not None
    assert found.high is not None
    order = (x[y][:, None] > x[~y]) + 0.5 * (x[y][:, None] == x[~y])
    assert found.value == pytest.approx(order.mean())
    assert found.value == pytest.approx(mannwhitneyu(x[y], x[~y]).statistic / order.size)
    m, n = order.shape
    variance = order.mean(1).var(ddof=1) / m + order.mean(0).var(ddof=1) / n
    assert found.high - found.value == pytest.approx(1.959964 * np.sqrt(variance), abs=1e-6)
    assert auc([1, 2], [True, True]).reason
    assert auc([1, 2], [True, False]).low is None


def test_accuracy_counts_ties_half_and_takes_prompts_whole() -> None:
    found = accuracy([2.0, 0.5, 0.0, -1.0])
    assert (found.rate.value, found.wins, found.ties, found.losses) == (0.625, 2, 1, 1)
    rng = np.random.default_rng(3)
    margins = np.repeat(rng.normal(0.5, 1, size=50), 6)
    alone = accuracy(margins).rate
    whole = accuracy(margins, clusters=[n // 6 for n in range(300)]).rate
    assert whole.value == alone.value
    assert whole.high - whole.low > 2 * (alone.high - alone.low)  # type: ignore[operator]
