"""Whatever dies or comes twice: every acknowledged answer once, no task above its overlap."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from people_kit import choose, claimed, opened, pairs

from heedful.data.store import Annotator, Store
from heedful.people import Assignment, BatchSettings, Conflict, NewTask, Queue

WORKER = """
import sys
from uuid import uuid4
from heedful.data.store import Store
from heedful.people import Assignment, Queue, Reply
store = Store.open(sys.argv[1])
queue = Queue(store)
import threading
lock = threading.Lock()
def work(name):
    while isinstance(found := queue.claim(name), Assignment):
        uuid = uuid4()
        queue.submit(name, found.task, Reply(choices={"overall": 1}), uuid=uuid, version=found.version)
        with lock:
            sys.stdout.write(f"{uuid} {found.task} {name}\\n")
            sys.stdout.flush()
threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(20)]
[t.start() for t in threads]
[t.join() for t in threads]
"""


def test_the_same_uuid_a_hundred_times_at_once_is_one_answer(store: Store) -> None:
    queue, uuid = opened(store), uuid4()
    task = claimed(queue, "ada").task

    def submit(_: int) -> object:
        return queue.submit("ada", task, choose(2), uuid=uuid, version=0)

    with ThreadPoolExecutor(20) as pool:
        found = set(map(repr, pool.map(submit, range(100))))
    assert len(found) == 1
    assert store.counts()["events"] == 1
    assert queue.progress("b").done == 1


def test_two_tabs_share_a_task_and_the_slower_one_is_told(store: Store) -> None:
    queue = opened(store)
    first, second = claimed(queue, "ada"), claimed(queue, "ada")
    assert first.task == second.task
    barrier, results = threading.Barrier(2), []

    def tab(preference: int) -> None:
        barrier.wait()
        try:
            queue.submit("ada", first.task, choose(preference), uuid=uuid4(), version=first.version)
            results.append(preference)
        except Conflict as conflict:
            results.append(conflict.reason)

    threads = [threading.Thread(target=tab, args=(p,)) for p in (1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count("stale") == 1
    (kept,) = [r for r in results if r != "stale"]
    assert [c.preference for c in store.comparisons()] == [kept]


def test_twenty_at_once_never_exceed_the_overlap(store: Store) -> None:
    names = [f"w{i}" for i in range(20)]
    store.add_annotators(Annotator(name) for name in names)
    queue = opened(store, overlap=3)

    def work(name: str) -> list[str]:
        done = []
        while isinstance(found := queue.claim(name), Assignment):
            queue.submit(name, found.task, choose(), uuid=uuid4(), version=0)
            done.append(found.task)
        return done

    with ThreadPoolExecutor(20) as pool:
        counts = Counter(task for tasks in pool.map(work, names) for task in tasks)
    assert counts == {line.task: 3 for line in queue.tasks("b")}
    assert queue.progress("b").reason == "every task has its 3 answers"


@pytest.mark.slow
def test_killed_under_twenty_clients_nothing_acknowledged_is_lost_or_twice(tmp_path: Path) -> None:
    where = str(tmp_path / "s.db")
    with Store.open(where) as store:
        from people_kit import fill

        fill(store, prompts=300)
        store.add_annotators(Annotator(f"w{i}") for i in range(20))
        tasks = [NewTask(f"p{i}", (f"p{i}a{j}", f"p{i}a3")) for i in range(300) for j in range(3)]
        Queue(store).create_batch("b", "b", BatchSettings("compare", overlap=3), [*pairs(300), *tasks])
    acknowledged: list[tuple[UUID, str, str]] = []
    for number in range(6):
        process = subprocess.Popen([sys.executable, "-c", WORKER, where], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = "".join(process.stdout.readline() for _ in range(5 + number))
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read()
        process.wait()
        for line in (first + rest).splitlines():
            parts = line.split(" ")
            if len(parts) == 3 and parts[2]:
                acknowledged.append((UUID(parts[0]), parts[1], parts[2]))
    assert len(acknowledged) >= sum(5 + number for number in range(6))
    with Store.open(where) as store, store.reading() as connection:
        rows = connection.exec_driver_sql("SELECT id, task, annotator FROM submissions").all()
        stored = Counter((UUID(row[0]), row[1]) for row in rows)
        assert all(stored[uuid, task] == 1 for uuid, task, _ in acknowledged)
        assert len(rows) == connection.exec_driver_sql("SELECT count(*) FROM events").scalar()
        per_task = Counter(row[1] for row in rows)
        assert max(per_task.values()) <= 3
        done = dict(connection.exec_driver_sql("SELECT id, done FROM tasks").all())
        assert {task: n for task, n in done.items() if n} == dict(per_task)
