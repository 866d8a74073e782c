"""Answers in steps: our files, TRL's, PRM800K's; what is supervised; where steps end in a text."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from heedful.data.solutions import (
    labelled_steps,
    read_solutions,
    step_ends,
    step_texts,
    up_to_the_first_error,
    write_solutions,
)
from heedful.data.store import Annotator, Store
from heedful.errors import UserError
from heedful.types import Answer, Message, Prompt, Solution, StepAlternative, StepLabels

ASK = (Message("user", "2 + 3 * 4?"),)


def file(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_our_own_and_trls_rows_are_read_and_written_back(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        {"prompt": "2 + 3 * 4?", "steps": ["3 * 4 = 12", "2 + 12 = 15"], "labels": [1, -1]},
        {"prompt": "2 + 3 * 4?", "steps": ["so", "14"], "chances": [0.25, None]},
        {"prompt": "2 + 3 * 4?", "steps": ["not yet"]},
    )
    found = read_solutions(path)
    assert [(s.labels, s.chances) for s in found] == [((1, -1), ()), ((), (0.25, None)), ((), ())]
    write_solutions(tmp_path / "again.jsonl", found)
    assert read_solutions(tmp_path / "again.jsonl") == found
    trl = file(tmp_path, {"prompt": "2 + 3 * 4?", "completions": ["a", "b"], "labels": [True, False]})
    assert read_solutions(trl)[0].labels == (1, -1)


def completion(text: str, rating: int | None, flagged: bool = False) -> dict[str, Any]:
    return {"text": text, "rating": rating, "flagged": flagged}


def step(*completions: dict[str, Any], chosen: int | None = None, human: str | None = None) -> dict[str, Any]:
    written = {"text": human} if human else None
    return {"completions": list(completions), "human_completion": written, "chosen_completion": chosen}


def prm(*steps: dict[str, Any], finish: str = "solution", **more: Any) -> dict[str, Any]:
    question = {"problem": "2 + 3 * 4?", "ground_truth_answer": "14"}
    label = {"steps": list(steps), "finish_reason": finish}
    return {"labeler": "w1", "question": question, "label": label, **more}


def test_prm800k_gives_the_path_and_every_other_completion(tmp_path: Path) -> None:
    row = prm(
        step(completion("3 * 4 = 12", 1), completion("2 + 3 = 5", -1), completion("odd", -1, True), chosen=0),
        step(completion("hm", 0), completion("unrated", None), human="2 + 12"),
        step(completion("= 15", -1)),
        finish="found_error",
    )
    found = read_solutions(file(tmp_path, row))
    assert [(s.steps, s.labels) for s in found] == [
        (("3 * 4 = 12", "2 + 12", "= 15"), (1, 1, -1)),
        (("2 + 3 = 5",), (-1,)),
        (("3 * 4 = 12", "hm"), (None, 0)),
    ]
    assert found[0].messages == ASK
    assert found[0].source == "w1"


def test_tests_of_annotators_and_bad_problems_are_left_out_and_counted(tmp_path: Path) -> None:
    good = prm(step(completion("14", 1), chosen=0))
    path = file(
        tmp_path,
        good,
        {**good, "is_quality_control_question": True},
        {**good, "is_initial_screening_question": True},
        prm(finish="bad_problem"),
    )
    skipped: Counter[str] = Counter()
    assert len(read_solutions(path, skipped=skipped)) == 1
    assert skipped == {"a question that tests the annotators": 2, "a bad problem": 1}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"prompt": "q", "steps": ["a"], "labels": [2]}, "a label is 1, 0, -1"),
        ({"prompt": "q", "steps": ["a"], "labels": [1, 1]}, "at most one value a step"),
        ({"prompt": "q", "steps": ["a"], "chances": [1.5]}, "between 0 and 1"),
        ({"prompt": "q", "steps": []}, "'steps' is .* a list of texts"),
        ({"question": "q", "label": {}}, "'question' is .*'problem'"),
        ({"question": {"problem": "q"}, "label": {"steps": [1]}}, "not as in PRM800K"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path, row: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=f"line 1.*{sentence}"):
        read_solutions(file(tmp_path, row))


def test_supervision_ends_with_the_first_error_and_neutral_is_what_is_asked() -> None:
    solution = Solution(ASK, tuple("abcde"), (1, 0, None, -1, 1))
    assert up_to_the_first_error(solution) == (1.0, 1.0, None, 0.0)
    assert up_to_the_first_error(solution, neutral=0.0) == (1.0, 0.0, None, 0.0)
    assert up_to_the_first_error(Solution(ASK, ("a", "b"), chances=(0.0, 0.5))) == (0.0, 0.5)


def test_steps_of_a_text_end_where_their_last_character_stands() -> None:
    text = "first\n\n second\nlast\n"
    assert step_texts(text, "\n") == ("first", " second", "last")
    assert [text[:end].split("\n")[-1] for end in step_ends(text, "\n")] == ["first", " second", "last"]
    assert step_ends("", "\n") == ()


def test_what_people_labelled_in_the_store_is_learnt_from(tmp_path: Path) -> None:
    """The labelled path, and a step that was rated beside it as a solution that ends there."""
    with Store.open(tmp_path / "store.db") as store:
        store.add_annotators([Annotator("ann"), Annotator("bob")])
        store.add_prompts([Prompt("p", ASK)])
        store.add_answers([Answer("a", "p", "3 * 4 = 12\n2 + 12 = 15")])
        beside = (StepAlternative(1, "2 + 12 = 14", 1), StepAlternative(1, "unrated"))
        steps = ("3 * 4 = 12", "2 + 12 = 15")
        store.submit(StepLabels("p", "a", "ann", steps, (1, -1), "found_error", beside))
        store.submit(StepLabels("p", "a", "bob", steps[:1], (0,), "bad_problem"))
        found = list(labelled_steps(store))
    assert [(s.messages, s.steps, s.labels, s.source) for s in found] == [
        (ASK, steps, (1, -1), "ann"),
        (ASK, ("3 * 4 = 12", "2 + 12 = 14"), (None, 1), "ann"),
    ]
    write_solutions(tmp_path / "again.jsonl", found)
    assert read_solutions(tmp_path / "again.jsonl") == found
