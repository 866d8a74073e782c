"""No acknowledged judgement is lost or doubled, whoever dies and whoever else writes."""

import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from store_kit import fill
from store_writer import THREADS, judgement

from heedful.data.store import Store, event_id
from heedful.types import Rating

WRITER = Path(__file__).with_name("store_writer.py")


def writer(where: str, limit: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(WRITER), where, str(limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def lines(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    # A killed process may leave half a line: it was not acknowledged.
    return [line.strip() for line in process.stdout if line.endswith("\n")]


@pytest.mark.timeout(120)
def test_a_killed_writer_loses_nothing_it_acknowledged(where: str) -> None:
    with Store.open(where) as store:
        fill(store)
    acknowledged: set[UUID] = set()
    for deadly in (1, 37, 120, 260):
        process = writer(where, 10_000)
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(deadly)]
        process.kill()
        with process:
            acknowledged.update(UUID(line.strip()) for line in seen + lines(process))
        assert process.returncode == -9
        with Store.open(where, create=False) as store:
            kept = Counter(event.id for event in store.events())
            assert acknowledged <= set(kept)
            assert set(kept.values()) == {1}

    limit = 150
    with writer(where, limit) as process:
        lines(process)
    assert process.returncode == 0
    with Store.open(where) as store:
        events = list(store.events())
        by_id = {event.id: event for event in events}
        assert [event.seq for event in events] == list(range(1, len(by_id) + 1))
        for thread in range(THREADS):
            for number in range(limit):
                uuid, rating = judgement(thread, number)
                assert by_id[uuid].payload == {"answer": rating.answer_id, "score": rating.score}


@pytest.mark.timeout(60)
def test_processes_that_write_at_once_store_each_judgement_once(where: str) -> None:
    with Store.open(where) as store:
        fill(store)
    limit = 40
    processes = [writer(where, limit) for _ in range(3)]
    for process in processes:
        with process:
            assert len(lines(process)) == THREADS * limit
        assert process.returncode == 0
    with Store.open(where) as store:
        assert {event.id for event in store.events()} == {
            judgement(thread, number)[0] for thread in range(THREADS) for number in range(limit)
        }
        assert store.counts()["events"] == store.counts()["rating"] == THREADS * limit


@pytest.mark.timeout(60)
def test_one_uuid_from_a_hundred_threads_is_one_event(store: Store) -> None:
    uuid, rating, start = uuid4(), Rating("p1", "p1-c", "bo", 5), threading.Barrier(20)

    def submit(number: int) -> object:
        if number < 20:
            start.wait()
        return store.submit(rating, uuid=uuid)

    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(submit, range(100)))
    assert len(set(map(repr, results))) == 1
    assert [event.id for event in store.events()] == [uuid]


@pytest.mark.timeout(60)
def test_processes_that_create_a_store_at_once_agree(where: str) -> None:
    program = "import sys; from heedful.data.store import Store; Store.open(sys.argv[1]).close()"
    processes = [subprocess.Popen([sys.executable, "-c", program, where]) for _ in range(6)]
    assert [process.wait() for process in processes] == [0] * 6
    with Store.open(where, create=False) as store:
        fill(store)
        assert store.counts()["answers"] == 12


def test_a_replayed_bulk_submission_stores_nothing_twice(store: Store) -> None:
    ratings = [Rating("p0", f"p0-{letter}", "ann", 4) for letter in "abcd"]
    uuids = [event_id("stage", rating.answer_id) for rating in ratings]
    first = store.submit_many(ratings[:2], uuids=uuids[:2])
    again = store.submit_many(ratings, uuids=uuids)
    assert again[:2] == first
    assert [event.seq for event in store.events()] == [1, 2, 3, 4]
    assert store.submit_many(ratings * 2, uuids=uuids * 2) == again * 2


def test_readers_see_one_moment_while_others_write(store: Store) -> None:
    store.submit_many([Rating("p0", f"p0-{letter}", "ann", 4) for letter in "abc"])
    reader = store.ratings()
    first = next(reader)
    store.submit(Rating("p0", "p0-d", "ann", 4))
    store.submit(Rating("p0", "p0-c", "ann", 7))
    assert [first.score, *(rating.score for rating in reader)] == [4, 4, 4]
    assert [rating.score for rating in store.ratings()] == [4, 4, 4, 7]


def test_reopening_finds_everything(where: str) -> None:
    with Store.open(where) as store:
        fill(store)
        event = store.submit(Rating("p0", "p0-a", "李", 7, "helpful", 2.5))
    with Store.open(where, create=False) as store:
        assert list(store.events()) == [event]
        assert list(store.ratings()) == [Rating("p0", "p0-a", "李", 7, "helpful", 2.5)]
