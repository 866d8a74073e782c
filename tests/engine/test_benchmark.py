"""Files of fixed pairs by subset, and what else held-out judgements tell: strength, criterion, length, gain."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from heedful.engine import heldout
from heedful.engine.benchmark import on_suite, read_suite
from heedful.engine.heldout import Judged, figures
from heedful.errors import UserError
from heedful.types import Preference, Prompt


class Length:
    """A reward that is an answer's length."""

    metrics: Mapping[str, float] = {}

    def scores(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[list[float]]:
        return [[float(len(text)) for text in row] for row in answers]


def test_a_reward_bench_file_gives_a_row_a_subset(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "chosen": "long", "rejected": "s", "subset": "chat"},
        {"prompt": "q", "chosen": "s", "rejected": "long", "subset": "chat"},
        {"prompt": "r", "chosen": "long", "rejected": "s", "subset": "chat"},
        {"prompt": "r", "chosen": "same", "rejected": "size", "subset": "hard"},
        {"prompt": "s", "chosen": "a", "rejected": "bb"},
    ]
    path = tmp_path / "suite.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = on_suite(Length(), read_suite(path))
    values = {name: (f["value"], f["n"]) for name, f in found["by_subset"].items()}
    assert values == {"chat": (pytest.approx(2 / 3), 3), "hard": (0.5, 1), "all": (0.0, 1)}
    assert found["accuracy"]["value"] == pytest.approx(2.5 / 5)
    assert found["mean_of_subsets"] == pytest.approx((2 / 3 + 0.5) / 3)


def test_an_item_with_several_answers_is_right_where_the_worst_chosen_beats_the_best_rejected(
    tmp_path: Path,
) -> None:
    """RewardBench 2: the best of four, and many right answers beside many wrong ones."""
    ask: list[dict[str, object]] = [
        {"chosen": ["longest"], "rejected": ["a", "bb", "ccc"], "subset": "Math"},
        {"chosen": ["bb"], "rejected": ["a", "c", "ccc"], "subset": "Math"},
        {"chosen": ["four", "five5"], "rejected": ["a", "bbb"], "subset": "Ties"},
        {"chosen": ["four", "bb"], "rejected": ["a", "ccc"], "subset": "Ties"},
        {"chosen": ["four", "bb"], "rejected": ["a", "cc"], "subset": "Ties"},
    ]
    rows = [{"id": str(i), "prompt": f"q {i}", "num_correct": 1, **row} for i, row in enumerate(ask)]
    path = tmp_path / "suite.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = on_suite(Length(), read_suite(path))
    values = {name: (f["value"], f["n"]) for name, f in found["by_subset"].items()}
    assert values == {"Math": (0.5, 2), "Ties": (pytest.approx(0.5), 3)}
    assert found["accuracy"]["n"] == 5
    path.write_text(json.dumps({"prompt": "q", "chosen": ["same"], "rejected": ["same"]}) + "\n")
    with pytest.raises(UserError, match="equal or empty answers"):
        read_suite(path)


def judged(**more: object) -> Judged:
    made = Judged(
        prompt=np.asarray([0, 0, 1, 1, 2, 2]),
        pair=np.arange(6),
        chosen=list("ABCDEF"),
        source=["ann"] * 6,
        margin=np.asarray([2.0, 1.0, -1.0, 0.0, 3.0, 1.0]),
        gold=None,
    )
    return dataclasses.replace(made, **more)  # type: ignore[arg-type]


def test_accuracy_by_strength_and_criterion_by_hand() -> None:
    groups = {"by_strength": ["1", "1", "1", "3", "3", "3"], "by_criterion": ["overall"] * 6}
    found = figures(judged(groups=groups))
    assert {k: f["value"] for k, f in found["by_strength"].items()} == {
        "1": pytest.approx(2 / 3),
        "3": pytest.approx(2.5 / 3),
    }
    # One criterion only: there is nothing to compare.
    assert "by_criterion" not in found


def test_the_length_controlled_accuracy_gives_both_sides_the_same_weight() -> None:
    # Chosen longer: margins 2, 1, -1, 3 (three of four right); shorter: 0 (a half); alike: left out.
    found = figures(judged(longer=np.asarray([5, 1, 2, -3, 4, 0])))
    assert found["chosen_longer"]["value"] == pytest.approx(3 / 4)
    assert found["chosen_shorter"]["value"] == pytest.approx(1 / 2)
    controlled = found["length_controlled_accuracy"]
    assert (controlled["value"], controlled["n"]) == (pytest.approx(5 / 8), 5)
    assert controlled["low"] <= 5 / 8 <= controlled["high"]


def test_a_judge_of_length_alone_has_one_half_whatever_people_prefer() -> None:
    longer = np.asarray([9, 8, 7, 6, 5, -4])
    found = figures(judged(margin=longer.astype(float), longer=longer))
    assert found["heldout_accuracy"]["value"] == pytest.approx(5 / 6)
    assert found["length_controlled_accuracy"]["value"] == pytest.approx(1 / 2)


def test_loss_and_calibration_are_those_of_the_learnt_probabilities() -> None:
    """Scores that are only rescaled keep their probabilities."""
    one, other = figures(judged()), figures(judged(margin=7 * judged().margin, gain=7.0))
    assert other["heldout_loss"] == pytest.approx(one["heldout_loss"])
    assert other["calibration_error"] == pytest.approx(one["calibration_error"])
    by_hand = np.log1p(np.exp(-np.asarray([2.0, 1.0, -1.0, 0.0, 3.0, 1.0]))).mean()
    assert one["heldout_loss"] == pytest.approx(by_hand)


def test_the_table_is_filled_from_preferences() -> None:
    class Model(Length):
        gain = 2.0

    given = [
        Preference((), "long", "s", strength=2.0, source="ann", criterion="honest"),
        Preference((), "s", "long", source="bob"),
    ]
    found = heldout.judged(Model(), given, None, [])  # type: ignore[arg-type]
    assert found.longer is not None
    assert found.longer.tolist() == [3, -3]
    assert found.margin.tolist() == [3.0, -3.0]
    assert found.groups == {"by_strength": ["2", "1"], "by_criterion": ["honest", "overall"]}
    assert found.gain == 2.0
