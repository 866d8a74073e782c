"""Intervals: other implementations, and whether they hold the truth as often as they claim."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from heedful.stats import bootstrap, mean_interval, paired_difference, wilson, win_rate
from heedful.stats.intervals import resample_weights


@given(st.integers(0, 60), st.integers(1, 60), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_equals_statsmodels(successes: int, more: int, confidence: float) -> None:
    oracle = pytest.importorskip("statsmodels.stats.proportion")
    n = successes + more
    found = wilson(successes, n, confidence=confidence)
    expected = oracle.proportion_confint(successes, n, alpha=1 - confidence, method="wilson")
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)
    assert found.value == successes / n


def test_wilson_by_hand() -> None:
    """5 of 10: centre 0.5, half width z √(n + z²)/2(n + z²) = 0.26342 at z = 1.959964."""
    found = wilson(5, 10)
    assert (found.low, found.high) == pytest.approx((0.236593, 0.763407), abs=1e-6)
    assert wilson(0, 7).low == 0
    assert wilson(7, 7).high == 1
    assert wilson(0, 0).reason
    with pytest.raises(ValueError, match="8 successes in 7"):
        wilson(8, 7)


def test_mean_by_hand() -> None:
    """1, 2, 3, 4: mean 2.5, s/√n = 0.645497, t(3) = 3.182446, z = 1.959964."""
    found = mean_interval([1, 2, 3, 4])
    assert (found.value, found.low, found.high) == pytest.approx((2.5, 0.445739, 4.554261), abs=1e-6)
    assert mean_interval([1, 2, 3, 4], normal=True).high == pytest.approx(3.765151, abs=1e-6)
    assert mean_interval([]).value is None
    single = mean_interval([3.0])
    assert (single.value, single.low) == (3.0, None)


def test_bootstrap_of_a_mean_is_seeded_and_near_the_normal_interval() -> None:
    x = np.random.default_rng(0).normal(size=400)

    def mean(weights: np.ndarray) -> float:
        return float(weights @ x / weights.sum())

    found = bootstrap(mean, 400, resamples=2000)
    near = mean_interval(x)
    assert found.value == pytest.approx(x.mean())
    assert found.low == pytest.approx(near.low, abs=0.02)
    assert found.high == pytest.approx(near.high, abs=0.02)
    assert found == bootstrap(mean, 400, resamples=2000)
    assert found != bootstrap(mean, 400, resamples=2000, seed=1)
    assert bootstrap(mean, 0).reason
    assert bootstrap(lambda weights: None, 4).reason


def test_cluster_resamples_take_clusters_whole() -> None:
    keys = ["a", "b", "a", "c", "b", "a"]
    for weights in resample_weights(6, clusters=keys, resamples=50):
        assert weights[0] == weights[2] == weights[5]
        assert weights[1] == weights[4]
        assert weights[0] + weights[1] + weights[3] == 3
    assert all(weights.sum() == 6 for weights in resample_weights(6, resamples=50))
    with pytest.raises(ValueError, match="6 observations but 2"):
        next(resample_weights(6, clusters=["a", "b"]))


@given(st.integers(0, 50), st.integers(0, 50))
def test_a_win_rate_without_ties_is_wilsons(wins: int, losses: int) -> None:
    found = win_rate(wins, 0, losses).rate
    if wins + losses == 0:
        assert found.value is None
    else:
        expected = wilson(wins, wins + losses)
        assert (found.value, found.low, found.high) == pytest.approx(
            (expected.value, expected.low, expected.high)
        )


def test_ties_count_half_are_shown_and_narrow_the_interval() -> None:
    found = win_rate(30, 40, 30)
    assert (found.rate.value, found.ties, found.rate.n) == (0.5, 40, 100)
    without = win_rate(50, 0, 50).rate
    assert without.low < found.rate.low < 0.5 < found.rate.high < without.high  # type: ignore[operator]
    every = win_rate(0, 9, 0).rate
    assert every.value == 0.5
    assert every.low < 0.3  # type: ignore[operator]


def test_arrays_and_cluster_keys_say_the_same() -> None:
    wins, ties, losses = np.array([2, 0, 3, 1]), np.array([1, 1, 0, 0]), np.array([0, 2, 0, 2])
    outcomes = [
        (prompt, kind)
        for prompt in range(4)
        for kind, counts in enumerate((wins, ties, losses))
        for _ in range(counts[prompt])
    ]
    flat = [[float(kind == which) for _, kind in outcomes] for which in range(3)]
    by_key = win_rate(*flat, clusters=[prompt for prompt, _ in outcomes])
    assert win_rate(wins, ties, losses) == by_key
    assert by_key.rate.n == 12
    assert win_rate([3], [0], [1]).rate.low is None


def test_win_rates_hold_the_truth_as_often_as_they_say() -> None:
    """Prompts differ, five comparisons each, with ties: a plain Wilson interval would be far too narrow."""
    rng = np.random.default_rng(7)
    inside, naive, trials = 0, 0, 600
    for _ in range(trials):
        better = rng.beta(1.2, 0.6, size=40)
        counts = np.stack([rng.multinomial(5, [0.8 * p, 0.2, 0.8 * (1 - p)]) for p in better])
        truth = 0.8 * 1.2 / 1.8 + 0.1
        found = win_rate(*counts.T).rate
        plain = win_rate(*counts.sum(0)).rate
        inside += found.low <= truth <= found.high  # type: ignore[operator]
        naive += plain.low <= truth <= plain.high  # type: ignore[operator]
    assert 0.93 <= inside / trials <= 0.975
    assert naive / trials < 0.9


def test_paired_difference_equals_scipys_t_test() -> None:
    rng = np.random.default_rng(0)
    old = rng.normal(size=80)
    new = old + rng.normal(0.3, 0.5, size=80)
    found = paired_difference(new, old)
    expected = ttest_rel(new, old)
    interval = expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.difference.low, found.difference.high) == pytest.approx((interval.low, interval.high))
    assert found.better
    assert not paired_difference(old, new).better
    same = paired_difference(old, old)
    assert (same.difference.value, same.p_value, same.better) == (0.0, 1.0, False)


def test_a_difference_over_clusters_has_as_many_observations_as_clusters() -> None:
    found = paired_difference([3, 5, 1, 1], [1, 1, 1, 2], clusters=["a", "a", "b", "c"])
    assert found.difference.n == 3
    assert found.difference.value == pytest.approx((3 + 0 - 1) / 3)
    with pytest.raises(ValueError, match="one length"):
        paired_difference([1], [1, 2])


def test_equal_systems_are_seldom_called_better() -> None:
    rng = np.random.default_rng(3)
    called = [paired_difference(*rng.normal(size=(2, 30))).better for _ in range(2000)]
    assert 0.015 < np.mean(called) < 0.036
