"""Agreement and accuracy on held-out judgements, against a count by hand."""

import numpy as np
import pytest

from heedful.engine.heldout import Judged, agreements, figures


def table(gold: list[float] | None) -> Judged:
    # Prompt 0, answers A B: two annotators agree on A. Prompt 1, answers C D: they disagree. Prompt 2: one only.
    # The model scores A above B by 2, D above C by 1, E above F by 3.
    return Judged(
        prompt=np.asarray([0, 0, 1, 1, 2]),
        pair=np.asarray([0, 0, 1, 1, 2]),
        chosen=["A", "A", "C", "D", "F"],
        source=["ann", "bob", "ann", "bob", "ann"],
        margin=np.asarray([2.0, 2.0, -1.0, 1.0, -3.0]),
        gold=None if gold is None else np.asarray(gold),
    )


def test_agreement_counts_pairs_that_two_annotators_judged() -> None:
    found = figures(table(None))
    assert found["annotator_agreement"]["value"] == pytest.approx(0.5)
    assert found["accuracy_on_the_same_pairs"]["value"] == pytest.approx(3 / 4)
    assert found["heldout_accuracy"]["value"] == pytest.approx(3 / 5)
    assert "gold_accuracy" not in found


def test_gold_ties_are_left_out_and_gold_decides_who_is_right() -> None:
    found = figures(table([0.4, 0.4, 0.0, 0.0, 0.2]))
    assert found["annotator_agreement"]["value"] == pytest.approx(1.0)
    assert found["accuracy_on_the_same_pairs"]["value"] == pytest.approx(1.0)
    # The model is right on both judgements of A over B and wrong on F over E; the annotators are always right.
    assert found["gold_accuracy"]["value"] == pytest.approx(2 / 3)
    assert found["annotator_gold_accuracy"]["value"] == pytest.approx(1.0)


def test_the_same_annotator_twice_is_no_agreement() -> None:
    twice = table(None)
    twice.source[1] = "ann"
    values, prompts, _ = agreements(twice, np.ones(5, dtype=bool))
    assert values.tolist() == [-1.0]
    assert prompts.tolist() == [1]
