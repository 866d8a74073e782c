"""Bradley-Terry and Elo against choix, hand-made numbers and worlds with known strengths."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from heedful.stats import bradley_terry, elo, elo_points, win_table

# The maximum-likelihood vectors of choix's test data (MIT), as exp(strength) with mean 1.
CHOIX = [
    ([(0, 1), (1, 2), (2, 0)], [1.0, 1.0, 1.0]),
    ([(0, 1), (0, 1), (1, 2), (2, 0)], [1.43586088, 0.62035049, 0.94378863]),
]


@pytest.mark.parametrize(("pairs", "expected"), CHOIX)
def test_choix_vectors(pairs: list[tuple[int, int]], expected: list[float]) -> None:
    found = bradley_terry(win_table(pairs, 3))
    assert found.strength is not None
    odds = np.exp(found.strength)
    assert odds / odds.mean() == pytest.approx(expected, abs=1e-7)


def test_random_games_as_choix_rates_them() -> None:
    choix = pytest.importorskip("choix")
    rng = np.random.default_rng(0)
    strength = rng.normal(size=12)
    pairs = []
    for _ in range(800):
        i, j = rng.choice(12, size=2, replace=False)
        first = rng.random() < 1 / (1 + np.exp(strength[j] - strength[i]))
        pairs.append((int(i), int(j)) if first else (int(j), int(i)))
    found = bradley_terry(win_table(pairs, 12))
    expected = choix.ilsr_pairwise(12, pairs)
    assert found.strength == pytest.approx(expected - expected.mean(), abs=1e-6)
    shrunk = bradley_terry(win_table(pairs, 12), ridge=0.5)
    assert shrunk.strength == pytest.approx(choix.opt_pairwise(12, pairs, alpha=0.25), abs=1e-4)


def test_two_players_have_the_log_odds_and_its_error() -> None:
    found = bradley_terry([[0, 30], [10, 0]])
    assert found.strength is not None
    assert found.covariance is not None
    assert found.strength[0] - found.strength[1] == pytest.approx(np.log(3))
    contrast = np.array([1.0, -1.0])
    assert contrast @ found.covariance @ contrast == pytest.approx(1 / 30 + 1 / 10)
    assert found.log_likelihood == pytest.approx(30 * np.log(0.75) + 10 * np.log(0.25))


def test_half_ties_are_half_wins() -> None:
    wins = np.array([[0, 5, 2], [3, 0, 4], [1, 2, 0]])
    ties = np.array([[0, 4, 0], [0, 0, 2], [6, 0, 0]])
    both = wins + (ties + ties.T) / 2
    assert bradley_terry(wins, ties).strength == pytest.approx(bradley_terry(both).strength)


def test_davidson_of_two_players_fits_the_counts_exactly() -> None:
    """With three outcomes and two parameters, P = (w, l, t)/n: e^d = w/l and tie = t/√(wl)."""
    found = bradley_terry([[0, 20], [5, 0]], [[0, 12], [0, 0]], model="davidson")
    assert found.strength is not None
    assert found.strength[0] - found.strength[1] == pytest.approx(np.log(4))
    assert found.tie == pytest.approx(12 / 10)


def test_davidson_is_a_maximum_and_finds_the_truth() -> None:
    rng = np.random.default_rng(1)
    truth, tie, players = np.array([-0.8, -0.2, 0.3, 0.7]), 0.6, 4
    wins, ties = np.zeros((4, 4)), np.zeros((4, 4))
    for i in range(players):
        for j in range(i):
            odds = np.array([np.exp(truth[i]), np.exp(truth[j]), tie * np.exp((truth[i] + truth[j]) / 2)])
            wins[i, j], wins[j, i], ties[i, j] = rng.multinomial(4000, odds / odds.sum())
    found = bradley_terry(wins, ties, model="davidson")
    assert found.strength is not None
    assert found.error is not None
    assert np.all(np.abs(found.strength - truth) < 4 * found.error)
    assert found.tie == pytest.approx(tie, abs=0.03)

    def likelihood(x: np.ndarray) -> float:
        total = 0.0
        for i in range(players):
            for j in range(i):
                logits = np.array([x[i], x[j], (x[i] + x[j]) / 2 + x[4]])
                total += np.array([wins[i, j], wins[j, i], ties[i, j]]) @ (
                    logits - np.log(np.exp(logits).sum())
                )
        return float(total)

    best = np.append(found.strength, np.log(found.tie))
    assert found.log_likelihood == pytest.approx(likelihood(best))
    assert np.abs(approx_fprime(best, likelihood, 1e-6)).max() < 0.05


def test_davidson_without_ties_is_bradley_terry() -> None:
    wins = [[0, 5, 2], [3, 0, 4], [1, 2, 0]]
    found = bradley_terry(wins, model="davidson")
    assert found.tie == 0
    assert found.strength == pytest.approx(bradley_terry(wins).strength)


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [([(0, 1), (1, 2)], "won or lost everything"), ([(0, 1), (1, 0)], "never compared")],
)
def test_without_a_maximum_there_is_a_reason_and_a_ridge_helps(
    pairs: list[tuple[int, int]], reason: str
) -> None:
    found = bradley_terry(win_table(pairs, 3))
    assert found.strength is None
    assert reason in found.reason
    assert np.isfinite(bradley_terry(win_table(pairs, 3), ridge=0.1).strength).all()  # type: ignore[arg-type]


def test_errors_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(4)
    truth = np.array([-0.5, 0.0, 0.5])
    inside = []
    for _ in range(150):
        wins = np.zeros((3, 3))
        for i, j in ((0, 1), (0, 2), (1, 2)):
            wins[i, j] = rng.binomial(60, 1 / (1 + np.exp(truth[j] - truth[i])))
            wins[j, i] = 60 - wins[i, j]
        found = bradley_terry(wins)
        assert found.strength is not None
        assert found.error is not None
        inside.append(np.abs(found.strength - truth) < 1.96 * found.error)
    assert 0.92 < np.mean(inside) < 0.98


def test_elo_points_are_400_a_factor_of_ten() -> None:
    points = elo_points([0.0, np.log(10.0)], anchor=0, at=1114)
    assert points == pytest.approx([1114, 1514])
    assert elo_points([-1.0, 1.0]).mean() == pytest.approx(1000)


def test_elo_by_hand_and_in_the_long_run() -> None:
    assert elo([(0, 1, 1.0)], 2) == pytest.approx([1002, 998])
    second = 4 * (0.5 - 1 / (1 + 10 ** (-4 / 400)))
    assert elo([(0, 1, 1.0), (0, 1, 0.5)], 2) == pytest.approx([1002 + second, 998 - second])
    rng = np.random.default_rng(0)
    games = [(0, 1, float(rng.random() < 0.75)) for _ in range(6000)]
    rating = elo(games, 2)
    assert rating.sum() == pytest.approx(2000)
    assert rating[0] - rating[1] == pytest.approx(400 * np.log10(3), abs=40)


@pytest.mark.parametrize(
    ("wins", "ties"),
    [
        ([[0, 0], [0, 0]], [[0, 5], [0, 0]]),  # ties alone: their weight grows without end
        ([[0, 1], [0, 0]], [[0, 1], [0, 0]]),  # one side never won: strength and ties grow together
        ([[0, 3, 0], [0, 0, 0], [0, 0, 0]], [[0, 2, 1], [0, 0, 4], [0, 0, 0]]),
    ],
)
def test_ties_that_leave_no_finite_maximum_are_said(wins: list[list[int]], ties: list[list[int]]) -> None:
    fit = bradley_terry(wins, ties, model="davidson")
    assert fit.strength is None
    assert "no finite maximum" in fit.reason
