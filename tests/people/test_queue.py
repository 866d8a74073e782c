"""The queue's laws: overlap, leases, versions, one submission once, nothing shown that should be hidden."""

import re
from dataclasses import asdict
from uuid import uuid4

import pytest
from people_kit import choose, claimed, opened, work_off

from heedful.data.store import Store
from heedful.errors import UserError
from heedful.people import Assignment, BatchSettings, Conflict, NewTask, Nothing, Queue, Reply


def test_each_task_is_answered_by_overlap_different_people_and_no_more(store: Store) -> None:
    queue = opened(store, overlap=2)
    done = {name: work_off(queue, name) for name in ("ada", "bo", "cy")}
    assert sorted(done["ada"] + done["bo"] + done["cy"]) == sorted(
        [line.task for line in queue.tasks("b")] * 2
    )
    assert all(len(set(tasks)) == len(tasks) for tasks in done.values())
    progress = queue.progress("b")
    assert (progress.done, progress.wanted, progress.finished) == (12, 12, True)
    assert store.counts()["comparison"] == 12


def test_nobody_sees_who_wrote_an_answer(store: Store) -> None:
    queue = opened(store)
    shown = repr(asdict(claimed(queue, "ada")))
    assert "policy" not in shown
    assert not re.search(r"p\da\d", shown)
    assert "gold" not in shown


def test_sides_are_random_recorded_and_the_same_again(store: Store) -> None:
    queue = opened(store, prompts=6, overlap=4)
    firsts = []
    for name in ("ada", "bo", "cy", "di"):
        while isinstance(found := queue.claim(name), Assignment):
            again = queue.claim(name)
            assert isinstance(again, Assignment)
            assert (again.lease, again.answers) == (found.lease, found.answers)
            queue.submit(name, found.task, choose(1), uuid=uuid4(), version=0)
            firsts.append(found.answers[0].text)
    comparisons = list(store.comparisons())
    assert len(comparisons) == 24
    sides = {c.first[-1] for c in comparisons}
    assert sides == {"0", "1"}
    texts = {answer.id: answer.text for answer in store.answers()}
    assert sorted(texts[c.first] for c in comparisons) == sorted(firsts)
    assert all(c.preference == 1 for c in comparisons)


def test_a_stale_version_is_refused_with_the_current_state(store: Store) -> None:
    queue = opened(store)
    task = claimed(queue, "ada").task
    first = queue.submit("ada", task, choose(2), uuid=uuid4(), version=0)
    with pytest.raises(Conflict) as caught:
        queue.submit("ada", task, choose(-2), uuid=uuid4(), version=0)
    assert caught.value.reason == "stale"
    assert caught.value.current == first
    revised = queue.submit("ada", task, choose(-2), uuid=uuid4(), version=1)
    assert revised.version == 2
    assert [c.preference for c in store.comparisons()] == [-2]
    assert queue.progress("b").done == 1


def test_the_same_uuid_again_gives_the_first_result(store: Store) -> None:
    queue, uuid = opened(store), uuid4()
    task = claimed(queue, "ada").task
    first = queue.submit("ada", task, choose(), uuid=uuid, version=0)
    assert queue.submit("ada", task, choose(), uuid=uuid, version=0) == first
    with pytest.raises(UserError, match="something else"):
        queue.submit("ada", task, choose(-1), uuid=uuid, version=0)
    assert store.counts()["events"] == 1


def test_undo_gives_the_task_back_with_what_was_said(store: Store) -> None:
    queue = opened(store, overlap=1)
    task = claimed(queue, "ada").task
    said = Reply(choices={"overall": 3}, comment="well", flags=())
    queue.submit("ada", task, said, uuid=uuid4(), version=0)
    again = queue.undo("ada", task, uuid=uuid4(), version=1)
    assert (again.draft, again.version, again.task) == (said.json(), 2, task)
    counts = store.counts()
    assert (counts["comparison"], counts["comment"], counts["events"]) == (0, 0, 4)
    assert (queue.progress("b").done, queue.progress("b").held) == (0, 1)
    assert queue.claim("ada").task == task  # type: ignore[union-attr]


def test_a_revision_takes_back_what_it_leaves_out(store: Store) -> None:
    queue = opened(store, criteria=("overall", "honest"))
    task = claimed(queue, "ada").task
    both = Reply(choices={"overall": 1, "honest": -1}, comment="hm")
    queue.submit("ada", task, both, uuid=uuid4(), version=0)
    queue.submit("ada", task, choose(2), uuid=uuid4(), version=1)
    assert [(c.criterion, c.preference) for c in store.comparisons()] == [("overall", 2)]
    assert list(store.comments()) == []
    queue.undo("ada", task, uuid=uuid4(), version=2)
    assert list(store.comparisons()) == []


def test_a_skipped_task_goes_to_somebody_else(store: Store) -> None:
    queue = opened(store, prompts=1)
    task = claimed(queue, "ada").task
    assert queue.skip("ada", task, "unclear", uuid=uuid4(), version=0).reason == "unclear"
    assert isinstance(queue.claim("ada"), Nothing)
    assert claimed(queue, "bo").task == task
    assert [skip.reason for skip in store.skips()] == ["unclear"]


def test_what_is_not_yours_does_not_exist(store: Store) -> None:
    queue = opened(store)
    mine = claimed(queue, "ada")
    for act in (
        lambda: queue.submit("bo", mine.task, choose(), uuid=uuid4(), version=0),
        lambda: queue.renew("bo", mine.lease),
        lambda: queue.release("bo", mine.lease),
        lambda: queue.save_draft("bo", mine.task, {}),
        lambda: queue.state("bo", mine.task),
        lambda: queue.reopen("bo", mine.task),
    ):
        with pytest.raises(UserError, match="There is no"):
            act()


def test_an_expired_lease_is_somebody_elses_and_then_taken(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from heedful.people import leases

    queue = opened(store, prompts=1, lease_seconds=10.0)
    mine = claimed(queue, "ada")
    queue.save_draft("ada", mine.task, {"note": "half"})
    assert isinstance(queue.claim("bo"), Nothing)
    later = leases.now_ms() + 11_000
    monkeypatch.setattr(leases, "now_ms", lambda: later)
    with pytest.raises(Conflict) as ended:
        queue.renew("ada", mine.lease)
    assert ended.value.reason == "expired"
    other = claimed(queue, "bo")
    assert other.task == mine.task
    with pytest.raises(Conflict) as caught:
        queue.submit("ada", mine.task, choose(), uuid=uuid4(), version=0)
    assert caught.value.reason == "taken"
    queue.release("bo", other.lease)
    assert queue.submit("ada", mine.task, choose(), uuid=uuid4(), version=0).state == "answered"
    assert isinstance(queue.claim("bo"), Nothing)


def test_a_draft_comes_back_after_a_release(store: Store) -> None:
    queue = opened(store, prompts=1)
    mine = claimed(queue, "ada")
    queue.save_draft("ada", mine.task, {"order": [1]})
    queue.release("ada", mine.lease)
    assert claimed(queue, "ada").draft == {"order": [1]}


def test_disagreement_of_reward_models_comes_first(store: Store) -> None:
    queue = Queue(store)
    tasks = [
        NewTask("p0", ("p0a0", "p0a1"), ((1.0, 0.0), (1.0, 0.0))),
        NewTask("p1", ("p1a0", "p1a1"), ((3.0, 0.0), (0.0, 3.0))),
        NewTask("p2", ("p2a0", "p2a1"), ((1.0, 0.0), (0.0, 1.0))),
    ]
    queue.create_batch("d", "active", BatchSettings("compare", choice="disagreement"), tasks)
    asked = [line.title for line in queue.tasks("d")]
    assert asked == ["Question 1?", "Question 2?", "Question 0?"]
