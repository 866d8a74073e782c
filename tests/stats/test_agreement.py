"""Agreement statistics: published vectors, other people's implementations, and brute force."""

import csv
import gzip
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heedful.stats import (
    cohen_kappa,
    count_table,
    encode,
    fleiss_kappa,
    krippendorff_alpha,
    latest,
    leave_one_out,
    matrix_labels,
    percent_agreement,
    vote_agreement,
    votes,
)
from heedful.stats.agreement import Metric
from heedful.types import Comparison

_: Any = None
# Krippendorff 2011, "Computing Krippendorff's alpha-reliability": four coders, twelve units.
KRIPPENDORFF = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]
# Fleiss 1971, by way of its usual example: ten subjects, five categories, fourteen raters.
FLEISS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]
METRICS: tuple[Metric, ...] = ("nominal", "ordinal", "interval", "ratio")
TABLES = st.integers(2, 5).flatmap(
    lambda values: st.lists(
        st.lists(st.integers(0, 4), min_size=values, max_size=values), min_size=1, max_size=12
    )
)


def alpha(rows: list[list[Any]], metric: Metric, **more: Any) -> Any:
    coded = encode(matrix_labels(rows))
    values = [float(value) for value in coded.values]  # type: ignore[arg-type]
    return krippendorff_alpha(count_table(coded), values=values, metric=metric, **more)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("nominal", 0.7434), ("ordinal", 0.8154), ("interval", 0.8491), ("ratio", 0.7974)],
)
def test_krippendorffs_example(metric: Metric, expected: float) -> None:
    assert alpha(KRIPPENDORFF, metric).value == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_alpha_equals_the_krippendorff_package(metric: Metric) -> None:
    oracle = pytest.importorskip("krippendorff")
    rng = np.random.default_rng(3)
    for _ in range(20):
        data = rng.integers(1, 6, size=(4, 30)).astype(float)
        data[rng.random(data.shape) < 0.3] = np.nan
        rows = [[None if np.isnan(x) else int(x) for x in row] for row in data]
        expected = oracle.alpha(reliability_data=data, level_of_measurement=metric)
        assert alpha(rows, metric).value == pytest.approx(expected, abs=1e-12)


def test_fleiss_example_and_statsmodels() -> None:
    assert fleiss_kappa(FLEISS).value == pytest.approx(0.20993, abs=5e-6)
    oracle = pytest.importorskip("statsmodels.stats.inter_rater")
    rng = np.random.default_rng(0)
    table = rng.multinomial(7, [0.2, 0.3, 0.5], size=40)
    assert fleiss_kappa(table).value == pytest.approx(oracle.fleiss_kappa(table), abs=1e-12)


def test_cohen_example_and_statsmodels() -> None:
    first = np.repeat([0, 0, 1, 1], [20, 5, 10, 15]).tolist()
    second = np.repeat([0, 1, 0, 1], [20, 5, 10, 15]).tolist()
    assert cohen_kappa(first, second).value == pytest.approx(0.40, abs=1e-12)
    oracle = pytest.importorskip("statsmodels.stats.inter_rater")
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 4, size=(2, 200))
    table = np.bincount(a * 4 + b, minlength=16).reshape(4, 4)
    for ours, theirs in (("none", None), ("linear", "linear"), ("quadratic", "quadratic")):
        expected = oracle.cohens_kappa(table, wt=theirs).kappa
        assert cohen_kappa(a.tolist(), b.tolist(), weights=ours).value == pytest.approx(expected, abs=1e-12)


@given(TABLES)
def test_percent_agreement_is_the_share_of_equal_pairs(table: list[list[int]]) -> None:
    same = total = 0
    for row in table:
        labels = [value for value, count in enumerate(row) for _ in range(count)]
        for one, other in combinations(labels, 2):
            same, total = same + (one == other), total + 1
    found = percent_agreement(table)
    if total:
        assert found.value == pytest.approx(same / total)
    else:
        assert (found.value, found.reason) == (None, "no item has two labels")


@given(TABLES)
def test_leave_one_out_is_the_chance_of_meeting_the_others_mode(table: list[list[int]]) -> None:
    chances = []
    for row in table:
        labels = [value for value, count in enumerate(row) for _ in range(count)]
        for left in range(len(labels)) if len(labels) > 1 else ():
            others = labels[:left] + labels[left + 1 :]
            most = max(map(others.count, others))
            modes = {value for value in others if others.count(value) == most}
            chances.append((labels[left] in modes) / len(modes))
    found = leave_one_out(table)
    assert found.value == (pytest.approx(np.mean(chances)) if chances else None)


@settings(max_examples=50)
@given(st.integers(2, 6), st.integers(0, 2**32 - 1), st.sampled_from(METRICS))
def test_complete_agreement_is_one_and_chance_is_about_zero(values: int, seed: int, metric: Metric) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(400) % values) + 1
    same = [truth.tolist()] * 3
    assert alpha(same, metric).value == pytest.approx(1.0)
    assert fleiss_kappa(count_table(encode(matrix_labels(same)))).value == pytest.approx(1.0)
    noise = rng.integers(1, values + 1, size=(3, 400)).tolist()
    assert abs(alpha(noise, metric).value) < 0.15
    assert abs(cohen_kappa(noise[0], noise[1]).value or 9) < 0.25


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (krippendorff_alpha([[3, 0], [2, 0]]), "same value"),
        (krippendorff_alpha([[1, 0], [0, 1]]), "no item has two"),
        (krippendorff_alpha(np.zeros((0, 2))), "no labels"),
        (fleiss_kappa([[3, 0], [2, 0]]), "use Krippendorff"),
        (fleiss_kappa([[2, 0], [2, 0]]), "same value"),
        (cohen_kappa([1, 1], [1, 1]), "same value"),
        (cohen_kappa([], []), "no labels"),
        (leave_one_out([[1, 0]]), "no item has two"),
        (vote_agreement([], ties="include"), "no labels"),
    ],
)
def test_what_does_not_exist_says_why(found: Any, reason: str) -> None:
    assert found.value is None
    assert found.low is None
    assert reason in found.reason


def comparison(who: str, first: str, second: str, preference: int, prompt: str = "p") -> Comparison:
    return Comparison(prompt, first, second, who, preference)


def test_votes_do_not_depend_on_sides_and_ties_are_left_out_or_counted() -> None:
    labels = votes(
        [
            comparison("ann", "a", "b", 2),
            comparison("bo", "b", "a", -1),
            comparison("cy", "b", "a", 3),
            comparison("dee", "a", "b", 0),
        ]
    )
    assert [label[2] for label in labels] == [1, 1, -1, 0]
    assert vote_agreement(labels, ties="exclude").value == pytest.approx(1 / 3)
    assert vote_agreement(labels, ties="include").value == pytest.approx(1 / 6)
    changed = [*labels, *votes([comparison("cy", "a", "b", 1)])]
    assert vote_agreement(changed, ties="exclude").value == 1.0
    assert len(latest(changed)) == 4


def test_intervals_are_seeded_hold_the_value_and_widen_with_clusters() -> None:
    rng = np.random.default_rng(5)
    labels = []
    for prompt in range(60):
        # Prompts are either easy for all their pairs or hard for all: clustered, as K-choose-2 pairs are.
        sure = rng.choice([0.5, 0.99])
        for pair in range(10):
            labels += [
                ((f"p{prompt}", "overall", f"{pair}a", f"{pair}b"), who, int(np.sign(sure - rng.random())))
                for who in "xyz"
            ]
    by_prompt = vote_agreement(labels, ties="include", resamples=300)
    by_pair = percent_agreement(count_table(encode(labels)), resamples=300)
    assert by_prompt == vote_agreement(labels, ties="include", resamples=300)
    assert by_prompt != vote_agreement(labels, ties="include", resamples=300, seed=1)
    assert None not in (by_prompt.value, by_prompt.low, by_prompt.high, by_pair.low, by_pair.high)
    assert by_prompt.low < by_prompt.value < by_prompt.high  # type: ignore[operator]
    assert by_prompt.high - by_prompt.low > 1.3 * (by_pair.high - by_pair.low)  # type: ignore[operator]


@pytest.mark.shared
@pytest.mark.parametrize("name", ["adult_content2_gold", "adult_content3", "hit_spam"])
def test_crowds_agree_as_the_krippendorff_package_says(shared: Path, name: str) -> None:
    oracle = pytest.importorskip("krippendorff")
    with gzip.open(shared / "data/crowd" / name / "labels.csv.gz", "rt", encoding="utf-8") as file:
        labels = latest((row["item"], row["worker"], row["label"]) for row in csv.DictReader(file))
    counts = count_table(encode(labels))
    expected = oracle.alpha(value_counts=counts, level_of_measurement="nominal")
    found = krippendorff_alpha(counts, resamples=50)
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.low <= found.value <= found.high  # type: ignore[operator]
