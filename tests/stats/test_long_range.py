"""The DFA exponent against sequences whose exponent is known."""

import numpy as np
import pytest

from heedful.stats.long_range import dfa, of_text


def test_independent_draws_have_a_half() -> None:
    rng = np.random.default_rng(0)
    found = [dfa(rng.random(4000) < 0.2) for _ in range(8)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.05)


def test_a_random_walk_has_one_and_a_half() -> None:
    rng = np.random.default_rng(0)
    found = [dfa(np.cumsum(rng.normal(size=4000))) for _ in range(8)]
    assert np.mean(found) == pytest.approx(1.5, abs=0.1)


def test_renewals_with_heavy_tails_have_gamma_half() -> None:
    """Altmann et al. 2012: P(tau) ~ tau^-mu with 2 < mu < 3 gives gamma = 4 - mu, and DFA gives gamma / 2."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(6):
        gaps = np.floor(rng.random(60_000) ** (-1 / 1.5)).astype(np.int64)  # mu = 2.5
        x = np.zeros(200_000)
        at = np.cumsum(gaps)
        x[at[at < x.size]] = 1
        found.append(dfa(x, smallest=50))
    assert np.mean(found) == pytest.approx(0.75, abs=0.06)


def test_shuffling_takes_the_correlation_out() -> None:
    rng = np.random.default_rng(1)
    words = np.repeat(rng.permutation(["sun", "rain", "mill", "kite"] * 25), 20)
    kept, shuffled = of_text(list(words)), of_text(list(rng.permutation(words)))
    assert kept.value is not None
    assert shuffled.value is not None
    assert kept.value > 0.8
    assert shuffled.value == pytest.approx(0.5, abs=0.07)


def test_what_is_too_short_has_none() -> None:
    assert dfa(np.zeros(500)) is None
    assert of_text(["a", "b"] * 20).value is None
