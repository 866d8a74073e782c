"""Aggregation: Dawid and Skene's own data, crowd-kit, gold, and worlds with a known truth."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from heedful.stats import Label, count_table, dawid_skene, encode, majority

# Dawid & Skene 1979, table 1: 45 patients; observer 1 classified each three times, observers 2 to 5 once.
ANAESTHETISTS = """
111 1 1 1 1|333 4 3 3 4|112 2 1 2 2|222 3 1 2 1|222 3 2 2 2|222 3 3 2 2|122 2 1 1 1|333 3 4 3 3|222 2 2 2 3
232 2 2 2 3|444 4 4 4 4|222 3 3 4 3|111 1 1 1 1|222 3 2 1 2|121 1 1 1 1|111 2 1 1 1|111 1 1 1 1|111 1 1 1 1
222 2 2 2 1|222 1 3 2 2|222 2 2 2 2|222 2 2 2 1|222 3 2 2 2|221 2 2 2 2|111 1 1 1 1|111 1 1 1 1|232 2 2 2 2
111 1 1 1 1|111 1 1 1 1|112 1 1 2 1|111 1 1 1 1|333 3 2 3 3|111 1 1 1 1|222 2 2 2 2|222 3 2 3 2|433 4 3 4 3
221 2 2 3 2|232 3 2 3 3|333 3 4 3 2|111 1 1 1 1|111 1 1 1 1|121 2 1 1 1|232 2 2 2 2|121 1 1 1 1|222 2 2 2 2
"""


def crowd(folder: Path) -> tuple[list[Label], dict[str, str]]:
    with gzip.open(folder / "labels.csv.gz", "rt", encoding="utf-8") as file:
        labels: list[Label] = [(row["item"], row["worker"], row["label"]) for row in csv.DictReader(file)]
    gold = {}
    if (folder / "gold.csv.gz").exists():
        with gzip.open(folder / "gold.csv.gz", "rt", encoding="utf-8") as file:
            gold = {row["item"]: row["truth"] for row in csv.DictReader(file)}
    return labels, gold


def test_the_anaesthetists_of_the_paper() -> None:
    patients = [patient.split() for patient in ANAESTHETISTS.replace("\n", "|").strip("|").split("|")]
    labels = encode(
        (patient, observer, int(digit))
        for patient, row in enumerate(patients, 1)
        for observer, said in enumerate(row, 1)
        for digit in said
    )
    found = dawid_skene(labels)
    assert found.prior == pytest.approx([0.3996, 0.4220, 0.1118, 0.0667], abs=5e-5)
    assert found.log_likelihood == pytest.approx(-192.8909, abs=5e-5)
    assert np.diag(found.confusion[0]) == pytest.approx([0.889, 0.876, 0.661, 0.444], abs=5e-4)
    most = majority(count_table(labels)).value
    best = found.posterior.argmax(1)
    changed = {labels.items[i]: (int(most[i]) + 1, int(best[i]) + 1) for i in np.flatnonzero(most != best)}
    assert changed == {2: (3, 4), 12: (2, 3), 36: (3, 4)}
    assert found.converged


@pytest.mark.shared
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["adult_content2_gold", "adult_content3", "hit_spam"])
def test_dawid_skene_equals_crowd_kit_step_by_step(shared: Path, name: str) -> None:
    crowdkit = pytest.importorskip("crowdkit.aggregation")
    pandas = pytest.importorskip("pandas")
    rows, _ = crowd(shared / "data/crowd" / name)
    labels = encode(rows)
    steps = 5
    oracle = crowdkit.DawidSkene(n_iter=steps, tol=-1e9).fit(
        pandas.DataFrame(rows, columns=["task", "worker", "label"])
    )
    expected = oracle.probas_.loc[list(labels.items), list(labels.values)].to_numpy()
    found = dawid_skene(labels, iterations=steps, tolerance=-np.inf)
    assert found.iterations == steps
    assert np.abs(found.posterior - expected).max() < 1e-9


@pytest.mark.shared
def test_dawid_skene_is_as_near_to_gold_as_the_majority(shared: Path) -> None:
    rows, gold = crowd(shared / "data/crowd/adult_content2_gold")
    labels = encode(rows)
    known = [i for i, item in enumerate(labels.items) if item in gold]
    truth = [labels.values.index(gold[str(labels.items[i])]) for i in known]
    most = np.mean(majority(count_table(labels)).value[known] == truth)
    best = np.mean(dawid_skene(labels).posterior.argmax(1)[known] == truth)
    assert best >= most - 0.02
    assert best > 0.7


def test_dawid_skene_finds_the_habits_that_made_the_labels() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(3, size=3000, p=[0.5, 0.3, 0.2])
    confusion = np.stack(
        [
            rng.dirichlet(np.eye(3)[t] * strength + 1, size=1)[0]
            for strength in (3, 6, 12, 20)
            for t in range(3)
        ]
    )
    confusion = confusion.reshape(4, 3, 3)
    labels = encode(
        (i, a, int(rng.choice(3, p=confusion[a, t]))) for i, t in enumerate(truth) for a in range(4)
    )
    found = dawid_skene(labels)
    assert np.abs(found.confusion - confusion).max() < 0.08
    assert np.abs(found.prior - [0.5, 0.3, 0.2]).max() < 0.04
    assert np.mean(found.posterior.argmax(1) == truth) > np.mean(majority(count_table(labels)).value == truth)
    assert found.posterior.sum(1) == pytest.approx(np.ones(3000))


def test_em_never_lowers_the_likelihood() -> None:
    rng = np.random.default_rng(2)
    labels = encode((int(i), int(a), int(v)) for i, a, v in rng.integers(0, (40, 6, 3), size=(300, 3)))
    likelihoods = [dawid_skene(labels, iterations=n, tolerance=-np.inf).log_likelihood for n in range(1, 30)]
    assert np.all(np.diff(likelihoods) > -1e-9)


def test_majority_shows_its_share_and_its_ties() -> None:
    found = majority([[3, 1, 0], [2, 2, 0], [0, 0, 1]])
    assert found.value.tolist() == [0, 0, 2]
    assert found.share.tolist() == [0.75, 0.5, 1.0]
    assert found.tied.tolist() == [False, True, False]
    with pytest.raises(ValueError, match="without labels"):
        majority([[0, 0]])
