"""Figures of a store: what was planted is found, what was narrowed is left out, gold counts nowhere."""

from itertools import combinations

import numpy as np
import pytest
from people_kit import choose, claimed, opened

from heedful.data.store import Annotator, Store
from heedful.people.kept import Kept
from heedful.people.printed import printed
from heedful.people.statistics import statistics
from heedful.stats.aggregate import dawid_skene
from heedful.stats.labels import encode, votes
from heedful.types import Answer, Comparison, Message, Prompt, Ranking, Rating, StepLabels

TRUE = {"good": 0.9, "fine": 0.85, "fair": 0.7, "first": 0.0}
"""How often each says what is true; `first` always says the first shown."""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """400 prompts; policy B is better, and longer answers please; three annotators with known habits."""
    rng = np.random.default_rng(0)
    store = Store.open(tmp_path_factory.mktemp("planted") / "s.db")
    store.add_prompts(Prompt(f"p{i}", (Message("user", f"Question {i}?"),)) for i in range(400))
    sizes = rng.integers(5, 40, (400, 2))
    store.add_answers(
        Answer(f"p{i}{name}", f"p{i}", "x" * int(sizes[i, k]), f"policy {name}")
        for i in range(400)
        for k, name in enumerate("AB")
    )
    store.add_annotators([*(Annotator(name) for name in TRUE), Annotator("gold", "gold")])
    said = []
    for i in range(400):
        apart = (sizes[i, 1] - sizes[i, 0]) / 10
        b_better = rng.random() < 1 / (1 + np.exp(-(1.0 + apart)))
        for name, accuracy in TRUE.items():
            b_first = rng.random() < 0.5
            says_b = b_first if name == "first" else b_better == (rng.random() < accuracy)
            first, second = (f"p{i}B", f"p{i}A") if b_first else (f"p{i}A", f"p{i}B")
            preference = 1 if says_b == b_first else -1
            said.append(
                Comparison(f"p{i}", first, second, name, preference, seconds=10.0 if name == "good" else 30.0)
            )
        said.append(Comparison(f"p{i}", f"p{i}A", f"p{i}B", "gold", 3))
    store.submit_many(said)
    return store


def test_habits_of_annotators_are_found(planted: Store) -> None:
    found = {one.name: one for one in statistics(planted).annotators}
    assert set(found) == set(TRUE)
    assert found["good"].accuracy == pytest.approx(0.9, abs=0.08)
    assert found["fair"].accuracy == pytest.approx(0.7, abs=0.08)
    assert found["good"].accuracy > found["fair"].accuracy > found["first"].accuracy  # type: ignore[operator]
    assert found["first"].first_side.value == 1.0
    assert found["good"].first_side.low < 0.5 < found["good"].first_side.high  # type: ignore[operator]
    assert found["good"].seconds_median == 10.0
    assert found["good"].judgements == 400


def test_accuracy_is_dawid_and_skenes(planted: Store) -> None:
    people = [c for c in planted.comparisons() if c.annotator != "gold"]
    labels = encode(votes(people))
    told = dawid_skene(labels, iterations=100, tolerance=1e-5)
    place = labels.annotators.index("fair")
    mine = next(one for one in statistics(planted).annotators if one.name == "fair")
    assert mine.accuracy == pytest.approx(float(told.prior @ np.diag(told.confusion[place])), abs=1e-9)
    assert sum(mine.bias.values()) == pytest.approx(0, abs=1e-9)


def test_policies_stand_apart_by_what_length_does_not_explain(planted: Store) -> None:
    found = statistics(planted)
    best, other = found.models
    assert (best.policy, other.policy) == ("policy B", "policy A")
    assert best.strength.low > 0 > other.strength.high  # type: ignore[operator]
    assert best.elo > 1000 > other.elo  # type: ignore[operator]
    assert best.points.value + other.points.value == pytest.approx(2000)  # type: ignore[operator]
    assert found.length_effect.low > 0  # type: ignore[operator]
    assert found.length.low > 0.5  # type: ignore[operator]
    assert found.position.value > 0.6  # type: ignore[operator]


def test_a_share_of_agreement_is_counted_right_and_gold_counts_nowhere(planted: Store) -> None:
    by: dict[str, dict[str, int]] = {}
    for name, low, _, sign in (
        (c.annotator, c.prompt_id, 0, c.preference if c.first < c.second else -c.preference)
        for c in planted.comparisons()
    ):
        by.setdefault(low, {})[name] = sign
    same = sum(a == b for told in by.values() for a, b in combinations([told[n] for n in TRUE], 2))
    found = statistics(planted).agreement["comparison"]
    assert found.percent.value == pytest.approx(same / 2400)
    assert found.percent.n == 400
    assert found.percent.low < found.percent.value < found.percent.high  # type: ignore[operator]


def test_other_kinds_and_what_is_disputed(store: Store) -> None:
    for name, score, order in (("ada", 7, "p0a0 p0a1"), ("bo", 1, "p0a1 p0a0")):
        store.submit(Rating("p0", "p0a0", name, score))
        store.submit(Rating("p0", "p0a1", name, 4))
        store.submit_many([Ranking("p0", name, tuple((a,) for a in order.split()))], complete=False)
        store.submit(StepLabels("p1", "p1a0", name, ("a", "b"), (1, 0), "solution"))
    found = statistics(store)
    assert found.kinds == {"ranking": 2, "rating": 4, "steps": 2}
    assert found.agreement["rating"].percent.value == 0.5
    assert found.agreement["steps"].percent.value == 1.0
    assert found.agreement["ranking"].percent.value == 0.0
    first, second = found.adjudication
    assert {first.kind, second.kind} == {"rating", "ranking"}
    assert (first.disagreement, second.disagreement) == (1.0, 1.0)
    rated = first if first.kind == "rating" else second
    assert rated.labels == {"ada": 7, "bo": 1}
    assert rated.answers == ("p0a0",)
    assert "most disputed" in printed(found)


def test_a_batch_and_a_criterion_narrow_what_is_looked_at(store: Store) -> None:
    queue = opened(store, overlap=2)
    for name in ("ada", "bo"):
        found = claimed(queue, name)
        from uuid import uuid4

        queue.submit(name, found.task, choose(1), uuid=uuid4(), version=0, seconds=3.0)
    store.submit(Comparison("p5", "p5a0", "p5a1", "cy", 2, "honest"))
    assert statistics(store).kinds == {"comparison": 3}
    assert statistics(store, batch="b").kinds == {"comparison": 2}
    assert statistics(store, batch="b").times["comparison"].median == 3.0
    assert [one.name for one in statistics(store, criterion="honest").annotators] == ["cy"]
    assert statistics(store, round=7).kinds == {}


def test_an_empty_store_has_reasons_for_everything(store: Store) -> None:
    found = statistics(store)
    assert found.agreement == {}
    assert found.models == ()
    assert found.position.reason == "there is no choice whose sides were recorded"
    assert found.length_effect.reason == "no two policies were compared"
    assert "no judgements" in printed(found)


def test_kept_figures_are_those_found_and_newer_ones_follow(store: Store) -> None:
    for name in ("ada", "bo"):
        store.submit(Comparison("p0", "p0a0", "p0a1", name, 1))
        store.submit(Rating("p0", "p0a0", name, 5))
    kept = Kept(store)
    first = kept.newest(resamples=10)
    assert first == statistics(store, resamples=10)
    assert Kept(store).newest(resamples=10) == first
    store.submit(Comparison("p1", "p1a0", "p1a1", "ada", 1))
    assert kept.newest(resamples=10, patience=0.0).as_of in (4, 5)
    assert kept.newest(resamples=10, patience=30.0) == statistics(store, resamples=10)
