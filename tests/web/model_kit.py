"""A model server as the studio sees one: OpenAI's API, with models whose answers a test knows."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from web_kit import Running, add_person

from heedful.data.store import Store

EVIL = "<img src=x onerror=alert(1)><script>document.title='broken'</script>"


@dataclass
class Model:
    """What was asked of the server, and how many answers were begun and ended."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    begun: int = 0
    finished: int = 0
    cut: int = 0


def _app(model: Model) -> FastAPI:
    app = FastAPI()

    @app.get("/v1/models")
    def models() -> Response:
        names = [{"id": "north", "kind": "language"}, {"id": "south", "kind": "adapter"}]
        return JSONResponse({"data": [*names, {"id": "judge", "kind": "reward"}]})

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        body = await request.json()
        model.asked.append(body)
        said = body["messages"][-1]["content"]
        if said == "refuse":
            return JSONResponse({"error": {"message": "too long for me"}}, 400)
        return StreamingResponse(_events(model, body, said), media_type="text/event-stream")

    return app


async def _events(model: Model, body: dict[str, Any], said: str) -> AsyncIterator[bytes]:
    model.begun += 1
    words = [EVIL] if said == "evil" else [f"{body['model']} ", "says: ", said, f" {body.get('seed', '')}"]
    if said == "long":
        words = ["on and on "] * 400
    try:
        for word in words:
            yield _event({"choices": [{"delta": {"content": word}, "finish_reason": None}]})
            await asyncio.sleep(0.02 if said == "long" else 0)
            if said == "break" and word == "says: ":
                yield _event({"error": {"message": "out of memory"}})
                return
        yield _event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
        yield b"data: [DONE]\n\n"
        model.finished += 1
    finally:
        model.cut = model.begun - model.finished


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


@contextmanager
def model_server() -> Iterator[Model]:
    """Serve on a free port of the loopback."""
    model = Model()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    model.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    server = uvicorn.Server(uvicorn.Config(_app(model), log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield model
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


@contextmanager
def talking(folder: Path, url: str) -> Iterator[Running]:
    """A studio whose pages talk to the model at `url`, with a researcher and two annotators."""
    with Store.open(folder / "feedback.db") as store:
        server = Running(store)
        object.__setattr__(server.studio, "settings", replace(server.studio.settings, model=url))
        for name, role in (("rita", "researcher"), ("ann", "annotator"), ("bo", "annotator")):
            add_person(server.studio, name, role)
        server.start()
        try:
            yield server
        finally:
            server.stop()
