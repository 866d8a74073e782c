"""A whole round by people: the loop puts its questions, waits, goes on by itself, and ends in a new policy."""

import json
import threading
import time
from pathlib import Path
from uuid import uuid4

import pytest

from heedful.data import formats
from heedful.data.store import Annotator, Store
from heedful.people import Assignment, Queue, Reply
from loop import tiny_loop

SETTINGS = {
    "feedback__source": "studio",
    "feedback__overlap": 2,
    "feedback__max_prompts": 10,
    "feedback__studio__poll_seconds": 0.05,
    "skip": "[prefer]",
}


def by_length(found: Assignment) -> Reply:
    """Shorter answers are better; equally long ones are tied."""
    tiers: dict[int, list[int]] = {}
    for position, answer in enumerate(found.answers):
        tiers.setdefault(len(answer.text), []).append(position)
    return Reply(order=tuple(tuple(tiers[length]) for length in sorted(tiers)))


def play(where: Path, names: list[str], stop: threading.Event, most: int = 10_000) -> int:
    """Answer what is asked until told to stop; return how much."""
    while not where.exists() and not stop.is_set():
        time.sleep(0.05)
    done = 0
    with Store.open(where) as store:
        store.add_annotators(Annotator(name) for name in names)
        queue = Queue(store)
        while not stop.is_set() and done < most:
            for name in names:
                if isinstance(found := queue.claim(name), Assignment):
                    queue.submit(name, found.task, by_length(found), uuid=uuid4(), version=0, seconds=2.0)
                    done += 1
            time.sleep(0.02)
    return done


@pytest.mark.slow
def test_people_answer_a_round_and_a_new_policy_follows(tmp_path: Path) -> None:
    output, stop = tmp_path / "run", threading.Event()
    people = threading.Thread(target=play, args=(output / "feedback.db", ["ada", "bo", "cy"], stop))
    people.start()
    try:
        tiny_loop.run(output, **SETTINGS)
    finally:
        stop.set()
        people.join()
    result = json.loads((output / "round-1/feedback/stage.json").read_text())["result"]
    assert result["stopped"] == "every task has its 2 answers"
    assert result["rankings"] == 2 * result["prompts"] > 0
    pairs = formats.read_preferences(output / "round-1/feedback/preferences.jsonl")
    assert len(pairs) == result["pairs"]
    assert all(len(pair.chosen) < len(pair.rejected) for pair in pairs)
    assert (output / "round-1/rl/model/model.safetensors").is_file()
    assert "promoted" in json.loads((output / "round-1/evaluate/stage.json").read_text())["result"]


@pytest.mark.slow
def test_a_wait_that_was_killed_finds_its_questions_and_answers_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from heedful.people import rounds

    output, looked = tmp_path / "run", []

    class Killed(BaseException):
        pass

    def sleep(_: float) -> None:
        looked.append(1)
        raise Killed

    real = rounds.wait
    monkeypatch.setattr(rounds, "wait", lambda *args, **more: real(*args, **more, sleep=sleep))
    with pytest.raises(Killed):
        tiny_loop.run(output, **SETTINGS)
    with Store.open(output / "feedback.db") as store:
        (batch,) = Queue(store).batches()
        asked = [line.task for line in Queue(store).tasks(batch.id)]
    assert play(output / "feedback.db", ["ada"], threading.Event(), most=3) == 3
    with pytest.raises(Killed):
        tiny_loop.run(output, **SETTINGS, feedback__studio__link="http://elsewhere/")
    with Store.open(output / "feedback.db") as store:
        assert Queue(store).batches() == [batch]
        assert [line.task for line in Queue(store).tasks(batch.id)] == asked
        assert Queue(store).progress(batch.id).done == 3
        Queue(store).set_state(batch.id, "closed", "enough")
    monkeypatch.setattr(rounds, "wait", real)
    tiny_loop.run(output, **SETTINGS)
    result = json.loads((output / "round-1/feedback/stage.json").read_text())["result"]
    assert (result["stopped"], result["rankings"]) == ("enough", 3)
    assert len(looked) == 2
