"""Best of n against enumeration, the law's planted coefficients found again, and Gao et al.'s formulas."""

from itertools import combinations, product

import numpy as np
import pytest

from heedful.stats.overoptimisation import best_of, exact_kl, fit_law, kl_bound


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_best_of_n_is_the_mean_over_all_choices(n: int) -> None:
    rng = np.random.default_rng(0)
    proxy, gold = rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
    expected = [
        np.mean([gold[row, max(chosen, key=lambda i: proxy[row, i])] for chosen in combinations(range(5), n)])
        for row in range(3)
    ]
    np.testing.assert_allclose(best_of(proxy, gold, n), expected)


def test_answers_that_the_proxy_ties_share_their_places() -> None:
    # Of 1, 1, 2 with gold 0, 6, 9 two are drawn: {0, 6} -> 3 on average, the other two pairs -> 9.
    assert best_of([1, 1, 2], [0, 6, 9], 2)[0] == pytest.approx((3 + 9 + 9) / 3)
    assert best_of([0, 0, 0], [1, 2, 6], 2)[0] == pytest.approx(3)


def test_more_cannot_be_estimated_than_were_drawn() -> None:
    with pytest.raises(ValueError, match="best of 4"):
        best_of([1, 2, 3], [1, 2, 3], 4)


def test_the_expected_best_of_normal_scores() -> None:
    scores = np.random.default_rng(0).normal(size=(4000, 64))
    for n, expected in ((2, 0.564), (4, 1.029), (16, 1.766)):
        assert best_of(scores, scores, n).mean() == pytest.approx(expected, abs=0.02)


def test_regressional_goodhart_gains_the_correlations_share() -> None:
    rng = np.random.default_rng(0)
    gold = rng.normal(size=(6000, 16))
    proxy = gold + rng.normal(size=gold.shape)  # correlation 1 / sqrt(2)
    assert best_of(proxy, gold, 16).mean() == pytest.approx(1.766 / 2**0.5, abs=0.03)


def test_the_kl_of_best_of_64_is_below_its_bound_and_nears_it_with_many_outcomes() -> None:
    assert kl_bound(64) == pytest.approx(3.17451, abs=1e-5)
    assert 0 < kl_bound(64) - exact_kl(np.full(5000, 1 / 5000), 64) < 1e-4
    assert exact_kl(np.full(5, 0.2), 64) == pytest.approx(
        np.log(5), abs=1e-4
    )  # the best outcome, almost surely


def test_the_exact_kl_is_that_of_all_draws() -> None:
    p, n = np.array([0.5, 0.2, 0.3]), 3
    q = np.zeros(3)
    for drawn in product(range(3), repeat=n):
        q[max(drawn)] += np.prod(p[list(drawn)])
    assert exact_kl(p, n) == pytest.approx(float((q * np.log(q / p)).sum()))


@pytest.mark.parametrize("law", ["best_of_n", "rl"])
def test_planted_coefficients_are_found(law: str) -> None:
    d = np.linspace(0.3, 4, 12)
    gain = d * (0.8 - 0.15 * (d if law == "best_of_n" else np.log(d)))
    found = fit_law(d, gain, law)  # type: ignore[arg-type]
    assert found.alpha[0] == pytest.approx(0.8)
    assert found.beta[0] == pytest.approx(0.15)
    assert found.r_squared == pytest.approx(1.0)
    peak = 0.8 / 0.3 if law == "best_of_n" else np.exp(0.8 / 0.15 - 1)
    assert found.peak == pytest.approx(peak)
    assert fit_law(d, d, law).peak is None or fit_law(d, d, law).beta[0] < 1e-9  # type: ignore[arg-type]


def test_the_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng, d, inside = np.random.default_rng(0), np.linspace(0.3, 4, 10), 0
    for _ in range(400):
        _, low, high = fit_law(d, d * (0.8 - 0.15 * d) + rng.normal(0, 0.1, 10), "best_of_n").alpha
        inside += low <= 0.8 <= high
    assert 0.92 <= inside / 400 <= 0.98


def test_two_points_are_no_law() -> None:
    with pytest.raises(ValueError, match="three"):
        fit_law([0.0, 1.0, 2.0], [0.0, 1.0, 1.0], "rl")
