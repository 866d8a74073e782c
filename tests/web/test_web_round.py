"""A whole round by hand: the loop waits, a person judges in the browser by keyboard, and a new policy follows."""

import json
import threading
from pathlib import Path

import pytest
from browser_kit import chromium, entered, judge_left

from heedful.data.store import Store
from heedful.people import Queue
from loop import tiny_loop

PROMPTS = 10


def asked(where: Path) -> bool:
    """Whether the loop has put its questions."""
    if not where.exists():
        return False
    with Store.open(where) as store:
        return bool(Queue(store).batches())


def judged_by_hand(where: Path, ended: threading.Event, problems: list[str]) -> None:
    """Accept the first link, and prefer the answer on the left until nothing is left to judge."""
    while not asked(where):
        if ended.wait(0.2):
            return
    try:
        with entered(where) as (page, _):
            judge_left(page, PROMPTS)
    except Exception as problem:
        problems.append(repr(problem))
        with Store.open(where) as store:
            Queue(store).set_state(Queue(store).batches()[0].id, "closed", "the test failed")


@pytest.mark.slow
def test_what_a_person_judges_in_the_browser_becomes_a_new_policy(tmp_path: Path) -> None:
    output, ended, problems = tmp_path / "run", threading.Event(), list[str]()
    where = output / "feedback.db"
    person = threading.Thread(target=judged_by_hand, args=(where, ended, problems))
    with chromium():
        pass  # skips here, where there is none, and not in the thread
    person.start()
    settings = {
        "feedback__source": "studio",
        "feedback__overlap": 1,
        "feedback__max_prompts": PROMPTS,
        "feedback__studio__question": "compare",
        "feedback__studio__poll_seconds": 0.1,
        "skip": "[prefer]",
    }
    try:
        tiny_loop.run(output, **settings)
    finally:
        ended.set()
        person.join()
    assert not problems
    result = json.loads((output / "round-1/feedback/stage.json").read_text())["result"]
    assert result["comparisons"] == result["prompts"] == PROMPTS
    with Store.open(where) as store:
        assert {one.annotator for one in store.comparisons()} == {"ada"}
        assert all(one.preference > 0 for one in store.comparisons())
    start = (output / "sft/model/model.safetensors").read_bytes()
    assert (output / "round-1/rl/model/model.safetensors").read_bytes() != start
