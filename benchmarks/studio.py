"""The studio under load: 200 annotators at once, and a store of a million events.

    python benchmarks/studio.py [--annotators 200] [--seconds 60] [--events 1000000] [--output FILE]

Writes figures as JSON, with command, commit and machine; nothing is asserted here but that nothing was lost.
"""

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from heedful.data.store import Annotator, Store
from heedful.people import BatchSettings, NewTask, Queue
from heedful.types import Answer, Comparison, Message, Prompt
from heedful.web.session import csrf_of
from heedful.web.settings import Settings
from heedful.web.studio import Studio

OVERLAP = 2
THINKING = (4.0, 16.0)
"""Seconds between a task and its answer: a fast reader's, who never rests."""


class Person:
    """Asks for a task, thinks, answers, and looks at their progress, as the page does."""

    def __init__(self, client: httpx.AsyncClient, keys: dict[str, str], seed: int) -> None:
        self._client, self._headers, self._rng = client, keys, random.Random(seed)
        self.next: list[float] = []
        self.submit: list[float] = []
        self.acknowledged: list[str] = []
        self.refused = 0

    async def work(self, until: float) -> None:
        """Judge until the clock says so."""
        await asyncio.sleep(self._rng.uniform(0, THINKING[1]))
        while time.monotonic() < until:
            begun = time.perf_counter()
            given = (await self._client.get("/api/work/next", headers=self._headers)).json()
            self.next.append(time.perf_counter() - begun)
            task = given.get("assignment")
            if task is None:
                return
            await asyncio.sleep(self._rng.uniform(*THINKING))
            key = str(uuid.uuid4())
            reply = {"choices": {"overall": self._rng.choice((-3, -1, 0, 2))}}
            body = {
                "task": task["task"],
                "uuid": key,
                "version": task["version"],
                "reply": reply,
                "seconds": 2.0,
            }
            begun = time.perf_counter()
            response = await self._client.post("/api/work/submit", json=body, headers=self._headers)
            self.submit.append(time.perf_counter() - begun)
            if response.status_code == 200:
                self.acknowledged.append(key)
            else:
                self.refused += 1
            await self._client.get("/api/work/mine", headers=self._headers)


def annotators(folder: Path, number: int, seconds: float) -> dict[str, Any]:
    """Let `number` annotators judge at once for `seconds`, and count what came of it."""
    path, port = folder / "load.db", _free_port()
    tasks = int(number * (seconds / sum(THINKING) * 2 + 20))
    with Store.open(path) as store:
        _texts(store, tasks)
        new = [NewTask(f"p{n}", (f"a{n}x", f"a{n}y")) for n in range(tasks)]
        Queue(store).create_batch("b", "b", BatchSettings(question="compare", overlap=OVERLAP), new)
        studio = Studio(store, Settings(f"http://127.0.0.1:{port}"))
        keys = [_session(studio, f"c{n}") for n in range(number)]
    with _server(path, port):
        people = asyncio.run(_all(port, keys, seconds))
    acknowledged = [key for person in people for key in person.acknowledged]
    with Store.open(path) as store:
        done = [one for n in range(number) for one in Queue(store).history(f"c{n}", limit=100_000)]
        kept = [str(one.submission) for one in done if one.state == "answered"]
        events = store.counts()["comparison"]
        counted = [one.prompt_id for one in store.comparisons()]
    most = max(np.unique(counted, return_counts=True)[1])
    lost = len(set(acknowledged) - set(kept))
    assert lost == 0
    assert len(kept) == len(set(kept)) == events
    assert most <= OVERLAP
    return {
        "annotators": number,
        "thinking_seconds": THINKING,
        "judgements": events,
        "judgements_per_second": round(events / seconds, 1),
        "refused": sum(person.refused for person in people),
        "lost": lost,
        "overlap": OVERLAP,
        "most_answers_of_a_task": int(most),
        "submit_ms": _spread([time for person in people for time in person.submit]),
        "next_ms": _spread([time for person in people for time in person.next]),
    }


async def _all(port: int, keys: list[dict[str, str]], seconds: float) -> list[Person]:
    limits = httpx.Limits(max_connections=len(keys), max_keepalive_connections=len(keys))
    address = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=60, trust_env=False) as client:
        people = [Person(client, key, seed) for seed, key in enumerate(keys)]
        until = time.monotonic() + seconds
        await asyncio.gather(*(person.work(until) for person in people))
    return people


def million(folder: Path, events: int, repeats: int = 20) -> dict[str, Any]:
    """Fill a store with `events` judgements by 50 annotators, and time the next task and the statistics page."""
    path, port = folder / "million.db", _free_port()
    prompts, people, rng = max(events // 20, 10), 50, random.Random(0)
    begun = time.perf_counter()
    with Store.open(path) as store:
        _texts(store, prompts)
        store.add_annotators(Annotator(f"w{n}") for n in range(people))
        for start in range(0, events, 5000):
            rows = []
            for number in range(start, min(start + 5000, events)):
                n, who = number % prompts, number // prompts + 20 * (number % 2)
                better = rng.choice((-2, -1, 0, 1, 2, 3))
                rows.append(
                    Comparison(f"p{n}", f"a{n}x", f"a{n}y", f"w{who}", better, seconds=rng.uniform(2, 90))
                )
            store.submit_many(rows)
        new = [NewTask(f"p{n}", (f"a{n}x", f"a{n}y")) for n in range(prompts)]
        Queue(store).create_batch("b", "b", BatchSettings(question="compare", overlap=OVERLAP), new)
        studio = Studio(store, Settings(f"http://127.0.0.1:{port}"))
        annotator, researcher = _session(studio, "c0"), _session(studio, "r0", "researcher")
        filled = time.perf_counter() - begun
        total = store.counts()["events"]
    with (
        _server(path, port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as client,
    ):
        claims = []
        for _ in range(repeats):
            at = time.perf_counter()
            task = client.get("/api/work/next", headers=annotator).json()["assignment"]
            claims.append(time.perf_counter() - at)
            body = {"task": task["task"], "uuid": str(uuid.uuid4()), "version": 0}
            body["reply"] = {"choices": {"overall": 1}}
            client.post("/api/work/submit", json=body, headers=annotator).raise_for_status()
        pages = []
        for _ in range(3):
            at = time.perf_counter()
            client.get("/statistics", headers=researcher).raise_for_status()
            pages.append(time.perf_counter() - at)
    return {
        "events": total,
        "prompts": prompts,
        "filling_seconds": round(filled, 1),
        "next_ms": _spread(claims),
        "statistics_page_seconds": [round(one, 2) for one in pages],
    }


def _texts(store: Store, number: int) -> None:
    store.add_prompts(
        Prompt(f"p{n}", (Message("user", f"Why is the sea salty? ({n})"),)) for n in range(number)
    )
    store.add_answers(
        Answer(
            f"a{n}{side}",
            f"p{n}",
            f"{side}{n} " + "Rivers carry salt into the sea. " * (1 + n % 7),
            f"m-{side}",
        )
        for n in range(number)
        for side in "xy"
    )


def _session(studio: Studio, name: str, role: Any = "annotator") -> dict[str, str]:
    """Headers of somebody who is signed in."""
    token = studio.accounts.invite(role, made_by="")
    studio.accounts.accept(token, name, "no password opens this account", "en")
    session = studio.accounts.enter(name)
    return {"cookie": f"heedful-session={session}", "x-csrf-token": csrf_of(studio, session)}


class _server:
    """`heedful studio` as a process of its own."""

    def __init__(self, path: Path, port: int) -> None:
        self._command = [sys.executable, "-m", "heedful", "studio", str(path), "--port", str(port)]
        self._port = port

    def __enter__(self) -> None:
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{self._port}/enter", trust_env=False, timeout=10)
                return
            except httpx.TransportError:
                assert self._process.poll() is None, "the studio did not start"
                time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()


def _spread(seconds: list[float]) -> dict[str, float]:
    ms = np.asarray(seconds) * 1000
    shares = {"median": 50, "p95": 95, "p99": 99, "max": 100}
    return {name: round(float(np.percentile(ms, share)), 1) for name, share in shares.items()} | {
        "n": len(seconds)
    }


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--annotators", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--output", type=Path, default=Path("runs/bench-studio.json"))
    asked = parser.parse_args()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    found: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "commit": commit.stdout.strip(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
    }
    with tempfile.TemporaryDirectory(prefix="heedful-bench-") as folder:
        if asked.annotators:
            found["load"] = annotators(Path(folder), asked.annotators, asked.seconds)
            print(json.dumps(found["load"], indent=1), flush=True)
        if asked.events:
            found["million"] = million(Path(folder), asked.events)
            print(json.dumps(found["million"], indent=1), flush=True)
    asked.output.parent.mkdir(parents=True, exist_ok=True)
    asked.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
