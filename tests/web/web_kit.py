"""A studio for tests: a store with one batch of each question, people, and a real server in a thread."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import httpx
import uvicorn

from heedful.data.store import Store
from heedful.people import BatchSettings, NewTask
from heedful.types import Answer, Message, Prompt
from heedful.web import passwords
from heedful.web.app import create_app
from heedful.web.settings import Settings
from heedful.web.studio import Studio

PASSWORD = "a river runs south"
QUESTIONS = ("rank", "compare", "steps", "demonstrate", "edit", "panel", "panel_pair", "plan")
SIZES = {
    "rank": 6,
    "compare": 2,
    "steps": 1,
    "demonstrate": 0,
    "edit": 1,
    "panel": 1,
    "panel_pair": 2,
    "plan": 3,
}
TEXTS = {
    "steps": "There are 12 eggs.\nWe eat 3, so 9 are left.\nTwo boxes of 9 make 19.\nThe answer is 19.",
    "panel": "People: Mara, a ferryman's daughter.\nPlace: the river mouth.\nPlan: she finds the letter.",
}


def fill(store: Store, *, prompts: int = 3, answers: dict[str, list[str]] | None = None) -> None:
    """Add prompts, and for each question a batch `q-QUESTION` over them."""
    from heedful.people import Queue

    queue = Queue(store)
    store.add_prompts(
        Prompt(f"p{n}", (Message("user", f"Prompt {n}: why is the sea salty?"),), "qa")
        for n in range(prompts)
    )
    for question in QUESTIONS:
        rows = []
        for n in range(prompts):
            texts = (answers or {}).get(question) or [
                f"{TEXTS.get(question.removesuffix('_pair'), 'Rivers carry salt into the sea.')} ({n}{letter})"
                for letter in "abcdef"[: SIZES[question]]
            ]
            found = [
                Answer(f"{question}-{n}-{k}", f"p{n}", text, f"model-{k}") for k, text in enumerate(texts)
            ]
            store.add_answers(found)
            rows.append(NewTask(f"p{n}", tuple(answer.id for answer in found)))
        settings = BatchSettings(question=question, overlap=3, instructions="**Read** everything first.")  # type: ignore[arg-type]
        queue.create_batch(f"q-{question}", f"Batch {question}", settings, rows)


@cache
def _kept() -> str:
    return passwords.hashed(PASSWORD)


def add_person(studio: Studio, name: str, role: str = "annotator") -> None:
    """Invite somebody and accept for them."""
    token = studio.accounts.invite(role, made_by="")  # type: ignore[arg-type]
    studio.accounts.accept(token, name, _kept(), "en")


class Running:
    """A server in a thread of this process, on a free port of the loopback."""

    def __init__(self, store: Store, port: int = 0) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", port))
        self.origin = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.app = create_app(store, Settings(self.origin))
        self.studio: Studio = self.app.state.studio
        self._server = uvicorn.Server(uvicorn.Config(self.app, log_level="critical"))
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self.socket]}, daemon=True
        )

    def start(self) -> None:
        """Serve, and come back when requests are answered."""
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._thread.join(10)
        self.socket.close()

    def session(self, name: str) -> str:
        """A session's token, begun without a password."""
        return self.studio.accounts.enter(name)

    def client(self, name: str = "") -> httpx.Client:
        """A client that is signed in, with the token against forgery."""
        from heedful.web.session import csrf_of

        client = httpx.Client(base_url=self.origin, timeout=30, trust_env=False)
        if name:
            token = self.session(name)
            client.cookies.set("heedful-session", token)
            client.headers["x-csrf-token"] = csrf_of(self.studio, token)
        return client


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    """A filled store, people of every role, and a server on it."""
    with Store.open(folder / "feedback.db") as store:
        fill(store)
        server = Running(store)
        for name, role in (
            ("ada", "administrator"),
            ("rita", "researcher"),
            ("ann", "annotator"),
            ("bo", "annotator"),
        ):
            add_person(server.studio, name, role)
        server.start()
        try:
            yield server
        finally:
            server.stop()
