"""The qualifying rule, and labels from judgements."""

import pytest

from heedful.stats import encode, matrix_labels, percent_agreement, qualify, scores, votes, wilson
from heedful.types import Comparison, Rating

GOLD = {f"item {n}": n % 2 for n in range(40)}


def labels_of(name: str, right: int, n: int) -> list[tuple[str, str, int]]:
    return [(item, name, GOLD[item] ^ (k >= right)) for k, item in enumerate(list(GOLD)[:n])]


def test_the_share_decides_and_the_interval_warns() -> None:
    labels = [
        *labels_of("sure", 39, 40),
        *labels_of("edge", 15, 20),
        *labels_of("below", 14, 20),
        *labels_of("bad", 8, 40),
        *labels_of("new", 5, 5),
        ("not gold", "guest", 1),
    ]
    found = {one.annotator: one for one in qualify(GOLD, labels)}
    assert list(found) == ["sure", "edge", "below", "bad", "new", "guest"]
    assert {name: (one.qualified, one.borderline) for name, one in found.items()} == {
        "sure": (True, False),
        "edge": (True, True),
        "below": (False, True),
        "bad": (False, False),
        "new": (False, True),
        "guest": (False, True),
    }
    assert found["edge"].agreement == wilson(15, 20)
    assert found["below"].reason == "agreed with 14 of 20 gold items: 70%, below 75% (borderline)"
    assert found["new"].reason == "judged 5 gold items, 10 are needed"
    assert found["guest"].agreement.value is None
    assert qualify(GOLD, labels_of("below", 14, 20), cutoff=0.7)[0].qualified


def test_a_revision_counts_once() -> None:
    labels = [*labels_of("ann", 0, 12), *labels_of("ann", 12, 12)]
    assert qualify(GOLD, labels)[0].agreement == wilson(12, 12)


def test_comparisons_become_labels_that_gold_can_be_set_against() -> None:
    gold = votes([Comparison("p", "b", "a", "gold", 3)])
    said = votes([Comparison("p", "a", "b", "ann", -1), Comparison("p", "a", "b", "bo", 0)])
    found = qualify({label[0]: label[2] for label in gold}, said, at_least=1)
    assert [(one.annotator, one.agreement.value) for one in found] == [("ann", 1.0), ("bo", 0.0)]


def test_labels_are_numbered_in_the_order_of_their_values() -> None:
    coded = encode(scores([Rating("p", "a", "x", 7), Rating("p", "b", "y", 2), Rating("p", "a", "y", 5)]))
    assert coded.values == (2, 5, 7)
    assert coded.items == (("p", "overall", "a"), ("p", "overall", "b"))
    assert (coded.item.tolist(), coded.annotator.tolist(), coded.value.tolist()) == (
        [0, 1, 0],
        [0, 1, 1],
        [2, 0, 1],
    )
    assert encode([(0, 0, "x"), (0, 1, 3)]).values == ("x", 3)
    assert matrix_labels([[1, None], [2, 3]]) == [(0, 0, 1), (0, 1, 2), (1, 1, 3)]


def test_a_table_of_counts_is_checked() -> None:
    with pytest.raises(ValueError, match="table of items x values"):
        percent_agreement([1, 2])
    with pytest.raises(ValueError, match="without negative"):
        percent_agreement([[1, -2]])
