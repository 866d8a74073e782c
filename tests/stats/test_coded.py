"""Figures from sums, against packages of their own and against the functions that take tables."""

import krippendorff
import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.stats.inter_rater import fleiss_kappa as fleiss_oracle

from heedful.stats import agreement as tables
from heedful.stats.blocks import block_sums, bootstrap_sums
from heedful.stats.coded import Coded, agreements, column_codes, disagreement
from heedful.stats.intervals import bootstrap
from heedful.stats.labels import count_table, encode
from heedful.stats.strength import bradley_terry, bradley_terry_adjusted, clustered_covariance


def labels(items: int = 300, people: int = 6, per_item: int = 3, seed: int = 0) -> Coded:
    """Noisy marks from 1 to 7, two items a cluster."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(1, 8, items)
    item = np.repeat(np.arange(items), per_item)
    annotator = np.concatenate([rng.choice(people, per_item, replace=False) for _ in range(items)])
    value = np.clip(truth[item] + rng.integers(-1, 2, item.size), 1, 7)
    return Coded(item, annotator, value, item // 2)


def test_every_alpha_is_the_krippendorff_packages() -> None:
    given = labels()
    found = agreements(given, resamples=0)
    matrix = np.full((6, 300), np.nan)
    matrix[given.annotator, given.item] = given.value
    for metric in ("nominal", "ordinal", "interval"):
        oracle = krippendorff.alpha(matrix, level_of_measurement=metric)
        assert getattr(found, f"alpha_{metric}").value == pytest.approx(oracle, abs=1e-12)


def test_the_rest_is_statsmodels_and_the_table_functions() -> None:
    given = labels()
    found = agreements(given, resamples=0)
    table = count_table(
        encode(zip(given.item.tolist(), given.annotator.tolist(), given.value.tolist(), strict=True))
    )
    assert found.fleiss.value == pytest.approx(fleiss_oracle(table.astype(int)), abs=1e-12)
    assert found.percent.value == pytest.approx(tables.percent_agreement(table).value, abs=1e-12)
    assert found.leave_one_out.value == pytest.approx(tables.leave_one_out(table).value, abs=1e-12)
    one, other = found.pair  # type: ignore[misc]
    both = [
        (a, b)
        for item in range(300)
        for a in given.value[(given.item == item) & (given.annotator == one)]
        for b in given.value[(given.item == item) & (given.annotator == other)]
    ]
    assert found.cohen.value == pytest.approx(
        tables.cohen_kappa([a for a, _ in both], [b for _, b in both]).value, abs=1e-12
    )


def test_what_does_not_exist_says_why() -> None:
    alone = Coded(np.arange(3), np.zeros(3, int), np.ones(3, int), np.arange(3))
    found = agreements(alone)
    assert found.percent.reason == found.alpha_nominal.reason == "no item has two labels"
    assert "same number of labels" in found.fleiss.reason
    assert found.cohen.reason == "no two annotators share an item"
    same = Coded(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.ones(4, int), np.array([0, 0, 1, 1]))
    assert "chance agreement is complete" in agreements(same).alpha_nominal.reason
    assert agreements(same).percent.value == 1.0


def test_the_block_bootstrap_is_the_cluster_bootstrap() -> None:
    given = labels(items=4000)
    found = agreements(given, resamples=400).percent
    table = np.zeros((4000, 8))
    np.add.at(table, (given.item, given.value), 1)
    slow = tables.percent_agreement(table, clusters=np.arange(4000) // 2, resamples=400)
    assert found.value == pytest.approx(slow.value)
    assert found.high - found.low == pytest.approx(slow.high - slow.low, rel=0.2)  # type: ignore[operator]


def test_intervals_of_a_mean_have_the_width_of_theory() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=20_000)
    sums = block_sums(np.stack([x, np.ones_like(x)], axis=1), np.arange(x.size))
    assert sums.shape == (400, 2)
    assert sums.sum(0) == pytest.approx([x.sum(), x.size])
    found = bootstrap_sums(lambda t: float(t[0] / t[1]), sums, n=x.size, resamples=2000)
    assert found.high - found.low == pytest.approx(2 * 1.96 / np.sqrt(x.size), rel=0.15)  # type: ignore[operator]
    assert bootstrap(lambda w: float(w @ x / w.sum()), x.size, resamples=1).value == pytest.approx(
        found.value
    )


def test_disagreement_is_the_mean_distance_of_two_labels() -> None:
    item, value = np.array([5, 5, 5, 9, 9, 7]), np.array([3, -3, 3, 1, 1, 2])
    numbers, apart, n = disagreement(item, value, 6.0)
    assert numbers.tolist() == [5, 9]
    assert apart.tolist() == pytest.approx([2 / 3, 0.0])
    assert n.tolist() == [3, 2]


def games(seed: int = 0, n: int = 3000) -> tuple[np.ndarray, ...]:
    """Three players, a covariate that matters, two games a cluster with a shared shock."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 3, n)
    second = (first + rng.integers(1, 3, n)) % 3
    x = np.rint(rng.normal(size=n) * 4) / 4
    shock = np.repeat(rng.normal(size=n // 2), 2)
    strength = np.array([0.5, 0.0, -0.5])
    p = 1 / (1 + np.exp(-(strength[first] - strength[second] + 0.7 * x + shock)))
    return first, second, (rng.random(n) < p).astype(float), x


def test_a_covariate_beside_strengths_is_statsmodels_logit() -> None:
    first, second, score, x = games()
    design = np.zeros((first.size, 3))
    design[np.arange(first.size), first] += 1
    design[np.arange(first.size), second] -= 1
    oracle = sm.GLM(score, np.column_stack([design[:, 1:], x]), family=sm.families.Binomial()).fit(tol=1e-12)
    found = bradley_terry_adjusted(first, second, score, x, 3)
    assert found.strength is not None
    assert found.strength[1:] - found.strength[0] == pytest.approx(oracle.params[:2], abs=1e-7)
    assert found.effect == pytest.approx(oracle.params[2], abs=1e-7)
    assert found.effect_error == pytest.approx(oracle.bse[2], abs=1e-6)


def test_a_covariate_that_decides_everything_is_named() -> None:
    first, second = np.array([0, 1] * 20), np.array([1, 0] * 20)
    x = np.random.default_rng(0).choice([-1.0, 1.0], 40)
    assert "covariate" in bradley_terry_adjusted(first, second, (x > 0).astype(float), x, 2).reason
    assert "won or lost everything" in bradley_terry_adjusted([0, 0], [1, 1], [1, 1], [0, 1], 2).reason


def test_errors_of_games_that_hang_together_are_statsmodels_clustered_ones() -> None:
    first, second, score, _ = games()
    clusters = np.arange(first.size) // 2
    wins = np.zeros((clusters.max() + 1, 3, 3))
    won = score == 1
    np.add.at(wins, (clusters[won], first[won], second[won]), 1)
    np.add.at(wins, (clusters[~won], second[~won], first[~won]), 1)
    fit = bradley_terry(wins.sum(0))
    covariance = clustered_covariance(fit, wins, np.zeros_like(wins))
    design = np.zeros((first.size, 3))
    design[np.arange(first.size), first] += 1
    design[np.arange(first.size), second] -= 1
    oracle = sm.GLM(score, design[:, 1:], family=sm.families.Binomial()).fit(
        tol=1e-12, cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False}
    )
    ours = covariance[1, 1] + covariance[0, 0] - 2 * covariance[0, 1]
    groups = len(wins)
    assert ours == pytest.approx(oracle.cov_params()[0, 0] * groups / (groups - 1), rel=1e-6)
    assert fit.covariance is not None
    alone = fit.covariance[1, 1] + fit.covariance[0, 0] - 2 * fit.covariance[0, 1]
    assert ours != pytest.approx(alone, rel=0.01)


def test_codes_tell_rows_apart_however_large_the_numbers_are() -> None:
    rng = np.random.default_rng(0)
    columns = [rng.integers(0, 2**40, 50) for _ in range(4)]
    columns = [np.concatenate([c, c]) for c in columns]
    code = column_codes(columns)
    assert (code[:50] == code[50:]).all()
    assert np.unique(code).size == 50
