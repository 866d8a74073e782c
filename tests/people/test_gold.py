"""Qualification and hidden gold: who may work, who is paused, and the reasons given."""

from uuid import uuid4

import pytest
from people_kit import PEOPLE, choose, claimed, opened, pairs

from heedful.data.store import Annotator, Store
from heedful.people import (
    Assignment,
    BatchSettings,
    NewTask,
    Nothing,
    Queue,
    Reply,
    grade_demonstration,
    resume,
    standings,
)
from heedful.people.gold import agreement


def by_name(store: Store) -> dict[str, object]:
    return {one.annotator: one for one in standings(store)}


def right(queue: Queue, found: Assignment, better: str = "step two\n") -> Reply:
    """The reply that gold holds: the shorter answer is better."""
    lengths = [len(answer.text) for answer in found.answers]
    return choose(2 if lengths[0] < lengths[1] else -2)


def wrong(queue: Queue, found: Assignment) -> Reply:
    said = right(queue, found).choices["overall"]
    return choose(-said)


def all_gold(store: Store, **settings: object) -> Queue:
    queue = opened(store, gold_at_least=4, **settings)
    for line in queue.tasks("b"):
        queue.set_gold(line.task, choose(1), "rita", uuid=uuid4())
    return queue


def work(queue: Queue, name: str, mistakes: int) -> int:
    """Answer all that comes, wrongly at first; return how many."""
    done = 0
    while isinstance(found := queue.claim(name), Assignment):
        reply = wrong(queue, found) if done < mistakes else right(queue, found)
        queue.submit(name, found.task, reply, uuid=uuid4(), version=0)
        done += 1
    return done


def test_those_who_reach_the_cutoff_are_qualified_and_get_the_real_work(store: Store) -> None:
    queue = all_gold(store, purpose="qualification")
    queue.create_batch("real", "real", BatchSettings("compare", qualified=True, priority=-1), pairs())
    assert queue.claim("cy", "real").reason == "unqualified"  # type: ignore[union-attr]
    # 5 of 6 is at least 75 %, 4 of 6 is not.
    assert claimed(queue, "ada").batch == "b"
    for name, mistakes in (("ada", 1), ("bo", 2)):
        for _ in range(6):
            found = claimed(queue, name)
            reply = wrong(queue, found) if mistakes > 0 else right(queue, found)
            mistakes -= 1
            queue.submit(name, found.task, reply, uuid=uuid4(), version=0)
    told = by_name(store)
    assert (told["ada"].qualified, told["bo"].qualified, told["cy"].qualified) == (True, False, None)  # type: ignore[attr-defined]
    assert "agreed with 5 of 6 gold items: 83%, at least 75%" in told["ada"].reason  # type: ignore[attr-defined]
    assert told["bo"].comparisons.value == pytest.approx(4 / 6)  # type: ignore[attr-defined]
    assert claimed(queue, "ada").batch == "real"
    assert queue.claim("bo").reason == "unqualified"  # type: ignore[union-attr]


def test_hidden_gold_below_the_cutoff_pauses_and_a_resumed_one_starts_anew(store: Store) -> None:
    queue = Queue(store)
    settings = BatchSettings("compare", overlap=4, gold_rate=0.5, gold_at_least=2, seed=3)
    two = [NewTask(f"p{i}", (f"p{i}a2", f"p{i}a3")) for i in range(6)]
    queue.create_batch("b", "pairs", settings, [*pairs(), *two])
    for line in queue.tasks("b")[:6]:
        queue.set_gold(line.task, choose(1), "rita", uuid=uuid4())
    assert queue.progress("b").wanted == 6 * 4
    while isinstance(found := queue.claim("ada"), Assignment):
        queue.submit("ada", found.task, wrong(queue, found), uuid=uuid4(), version=0)
    assert isinstance(found, Nothing)
    assert found.reason == "paused"
    assert found.detail.startswith("hidden gold: agreed with 0 of 2 gold items: 0%, below 75%")
    judged = queue.mine("ada").answered
    resume(store, "ada")
    again = claimed(queue, "ada")
    queue.submit("ada", again.task, wrong(queue, again), uuid=uuid4(), version=0)
    assert queue.mine("ada").answered == judged + 1
    assert by_name(store)["ada"].paused == ""  # type: ignore[attr-defined]


def test_gold_comes_at_the_set_rate_and_looks_like_the_rest(store: Store) -> None:
    queue = Queue(store)
    tasks = [
        NewTask(f"p{i}", (f"p{i}a{j}", f"p{i}a{k}")) for i in range(6) for j in range(4) for k in range(j)
    ]
    queue.create_batch("b", "pairs", BatchSettings("compare", overlap=4, gold_rate=0.3), tasks)
    gold = {line.task for line in queue.tasks("b")[:18]}
    for task in gold:
        queue.set_gold(task, choose(3), "rita", uuid=uuid4())
    met, total = 0, 0
    for name in PEOPLE:
        while True:
            found = queue.claim(name)
            if isinstance(found, Nothing):
                if found.reason != "paused":
                    break
                resume(store, name)
                continue
            queue.submit(name, found.task, choose(0), uuid=uuid4(), version=0)
            met, total = met + (found.task in gold), total + 1
    assert total - met == 18 * 4
    assert 0.15 < met / total < 0.45
    assert queue.progress("b").done == 18 * 4


def test_a_demonstration_is_graded_and_six_of_seven_qualifies(store: Store) -> None:
    queue = Queue(store)
    settings = BatchSettings("demonstrate", purpose="qualification")
    queue.create_batch("w", "writing", settings, [NewTask("p0"), NewTask("p1")])
    for line in queue.tasks("w"):
        queue.set_gold(line.task, Reply(text="A model answer."), "rita", uuid=uuid4())
    for name in ("ada", "bo"):
        for _ in range(2):
            found = claimed(queue, name)
            queue.submit(name, found.task, Reply(text=f"{name}'s answer."), uuid=uuid4(), version=0)
    for one in store.demonstrations():
        if one.annotator != "gold":
            score = 6 if one.annotator == "ada" else 5
            grade_demonstration(store, one.answer_id, "rita", score, uuid=uuid4())
    told = by_name(store)
    assert (told["ada"].qualified, told["bo"].qualified) == (True, False)  # type: ignore[attr-defined]
    assert told["ada"].demonstrations.value == 6.0  # type: ignore[attr-defined]
    assert "grade 5.0 of 7 over 2, 6 is needed" in told["bo"].reason  # type: ignore[attr-defined]


def test_agreement_of_rankings_counts_the_pairs_that_gold_tells_apart() -> None:
    settings = BatchSettings("rank")
    gold = Reply(order=((0,), (1,), (2, 3)))
    assert agreement(settings, gold, gold) == 1.0
    # Of five pairs told apart, (0, 1) is turned round and (1, 2) is a tie.
    assert agreement(settings, gold, Reply(order=((1, 2), (0,), (3,)))) == pytest.approx(2 / 5)
    assert agreement(settings, Reply(order=((0, 1),)), Reply(order=((0, 1),))) is None


def test_moving_a_reply_to_the_stored_order() -> None:
    given = Reply(ratings={"overall": (5, None)}, order=((0,), (1,)), choices={"overall": 2}, plan=0)
    moved = given.moved([1, 0])
    assert moved.ratings == {"overall": (None, 5)}
    assert moved.order == ((1,), (0,))
    assert moved.choices == {"overall": -2}
    assert moved.plan == 1
    assert given.moved([0, 1]) == given


def test_a_person_of_the_store_is_needed(store: Store) -> None:
    store.add_annotators([Annotator("zoe")])
    assert by_name(store)["zoe"].qualified is None  # type: ignore[attr-defined]
