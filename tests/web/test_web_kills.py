"""The server is killed under submitting clients: every acknowledged judgement is there, exactly once."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from web_kit import add_person

from heedful.data.store import Store
from heedful.people import BatchSettings, NewTask, Queue
from heedful.types import Answer, Message, Prompt
from heedful.web.session import csrf_of
from heedful.web.settings import Settings
from heedful.web.studio import Studio

CLIENTS = 20
SERVER = Path(__file__).with_name("studio_process.py")


def _prepare(path: Path, port: int, tasks: int) -> list[tuple[dict[str, str], dict[str, str]]]:
    """A store with many comparisons, and the cookies and headers of twenty annotators."""
    with Store.open(path) as store:
        store.add_prompts(Prompt(f"p{n}", (Message("user", f"Ask {n}"),)) for n in range(tasks))
        store.add_answers(
            Answer(f"a{n}{side}", f"p{n}", f"{side} {n}") for n in range(tasks) for side in "xy"
        )
        new = [NewTask(f"p{n}", (f"a{n}x", f"a{n}y")) for n in range(tasks)]
        Queue(store).create_batch("b", "b", BatchSettings(question="compare", overlap=2), new)
        studio = Studio(store, Settings(f"http://127.0.0.1:{port}"))
        keys = []
        for n in range(CLIENTS):
            add_person(studio, f"c{n}")
            token = studio.accounts.enter(f"c{n}")
            keys.append(({"heedful-session": token}, {"x-csrf-token": csrf_of(studio, token)}))
        return keys


class Client(threading.Thread):
    """Judges without pause; what is not acknowledged is sent again, as the page's outbox does."""

    def __init__(self, port: int, keys: tuple[dict[str, str], dict[str, str]], stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.acknowledged: dict[str, tuple[str, ...]] = {}
        self.again = 0
        cookies, headers = keys
        self._stop_asked = stop
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", cookies=cookies, headers=headers, timeout=5, trust_env=False
        )

    def run(self) -> None:
        while not self._stop_asked.is_set():
            given = self._until_answered("GET", "/api/work/next", None)
            task = given and given.get("assignment")
            if not task:
                return
            body = {"task": task["task"], "uuid": str(uuid.uuid4()), "version": task["version"]}
            body["reply"] = {"choices": {"overall": random.choice((-2, 0, 3))}}
            done = self._until_answered("POST", "/api/work/submit", body)
            if done and "events" in done:
                self.acknowledged[body["uuid"]] = tuple(done["events"])

    def _until_answered(
        self, method: str, path: str, body: dict[str, object] | None
    ) -> dict[str, object] | None:
        while not self._stop_asked.is_set():
            try:
                response = self._client.request(method, path, json=body)
                if response.status_code < 500:
                    found: dict[str, object] = response.json()
                    return found
            except (httpx.TransportError, ValueError):
                self.again += 1
                time.sleep(0.05)
        return None


def _start(path: Path, port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, str(SERVER), str(path), str(port)], stderr=subprocess.DEVNULL)
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/enter", timeout=2, trust_env=False)
            return process
        except httpx.TransportError:
            assert process.poll() is None
            time.sleep(0.05)


def _wait(count: Callable[[], int], wanted: int) -> None:
    while count() < wanted:
        time.sleep(0.01)


def _kill_and_count(tmp_path: Path, kills: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = tmp_path / "feedback.db"
    keys = _prepare(path, port, tasks=200 + 60 * kills)
    stop, rng = threading.Event(), random.Random(0)
    process = _start(path, port)
    clients = [Client(port, one, stop) for one in keys]
    try:
        for client in clients:
            client.start()
        for number in range(kills):
            # Some answers after the last start, and then at any moment.
            _wait(lambda: sum(len(client.acknowledged) for client in clients), 10 * (number + 1))
            time.sleep(rng.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = _start(path, port)
        _wait(lambda: sum(len(client.acknowledged) for client in clients), 10 * (kills + 1))
        stop.set()
        for client in clients:
            client.join(30)
    finally:
        process.kill()
        process.wait()
    acknowledged = {key: events for client in clients for key, events in client.acknowledged.items()}
    assert sum(client.again for client in clients) >= kills
    with Store.open(path) as store:
        events = [str(event.id) for event in store.events()]
        done = [one for n in range(CLIENTS) for one in Queue(store).history(f"c{n}", limit=100_000)]
        progress = Queue(store).progress("b")
    assert len(events) == len(set(events))
    kept = {str(one.submission): tuple(map(str, one.events)) for one in done if one.state == "answered"}
    for key, of in acknowledged.items():
        assert kept[key] == of
        assert set(of) <= set(events)
    # Nobody's answer was counted beyond the overlap.
    assert progress.done <= progress.wanted
    print(f"kills {kills}, acknowledged {len(acknowledged)}, in the store {len(kept)}, lost 0, twice 0")


def test_a_kill_loses_nothing(tmp_path: Path) -> None:
    _kill_and_count(tmp_path, 1)


@pytest.mark.slow
def test_many_kills_lose_nothing(tmp_path: Path) -> None:
    _kill_and_count(tmp_path, int(os.environ.get("HEEDFUL_KILLS", "20")))


def test_one_uuid_a_hundred_times_at_once_is_one_event(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from web_kit import running

    with running(tmp_path) as server:
        client = server.client("ann")
        task = client.get("/api/work/next?batch=q-compare").json()["assignment"]
        body = {
            "task": task["task"],
            "uuid": str(uuid.uuid4()),
            "version": 0,
            "reply": {"choices": {"overall": 1}},
        }
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: client.post("/api/work/submit", json=body), range(100)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.text for answer in answers}) == 1
        assert server.studio.store.counts()["events"] == 1
