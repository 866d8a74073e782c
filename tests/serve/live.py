"""A server in this process, on a tiny model, over a real socket."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import transformers as hf
import uvicorn

import tiny
from heedful.data import chat
from heedful.engine.tokenizer import train_bpe
from heedful.nn import hub
from heedful.serve.app import build
from heedful.serve.config import ServeConfig
from heedful.serve.local import LocalEngine
from heedful.serve.metrics import Metrics

KEY = "a-key-of-sixteen-letters"
TOKENIZER = train_bpe(["the cat sat on the mat. the end. 猫坐在垫子上。"] * 4, 320)


def tiny_config(**more: Any) -> Any:
    return hf.LlamaConfig(
        **{**tiny._COMMON, "vocab_size": len(TOKENIZER), "max_position_embeddings": 512, **more}
    )


def save(folder: Path, *, scorer: bool = False, seed: int = 0) -> str:
    """A tiny model with its tokenizer on disk."""
    chat.ensure_chat_template(TOKENIZER)
    hub.save_model(folder, tiny.model(tiny_config(), scorer=scorer, seed=seed), TOKENIZER)
    return str(folder)


@dataclass
class Live:
    """A running server."""

    url: str
    engine: LocalEngine
    metrics: Metrics
    server: uvicorn.Server

    @property
    def v1(self) -> str:
        return f"{self.url}/v1"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {KEY}"}

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return httpx.post(f"{self.v1}/{path}", json=body, headers=self.headers, timeout=60, **options)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}/{path}", headers=self.headers, timeout=60)

    def idle(self, seconds: float = 10.0) -> None:
        """Wait until no answer is waited for or written."""
        limit = time.monotonic() + seconds
        worker = self.engine.worker
        while worker.depth or worker.running or worker.calls:
            assert time.monotonic() < limit, "there is still work"
            time.sleep(0.01)


@contextmanager
def serving(**settings: Any) -> Iterator[Live]:
    """Serve what the settings say on a free port."""
    config = ServeConfig(
        **{"api_key": KEY, "max_completion_length": 400, "rate": 1e6, "burst": 10**6, **settings}
    )
    metrics = Metrics()
    engine = LocalEngine(config, metrics)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(2048)
        port = listener.getsockname()[1]
        app = build(config, engine, metrics, [KEY])
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        )
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        try:
            yield Live(f"http://127.0.0.1:{port}", engine, metrics, server)
        finally:
            server.should_exit = True
            thread.join(20)


BROKEN = (httpx.RemoteProtocolError, httpx.ReadError, ConnectionError)
"""What a connection that ends in mid-response is to httpx."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(
    folder: Path, *words: str, port: int | None = None
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """`heedful serve` in a process of its own, once it is ready; killed in the end."""
    port = port or free_port()
    command = [sys.executable, "-m", "heedful", "serve", *words, f"port={port}", f"api_key={KEY}"]
    with (folder / f"serve-{port}.log").open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        limit = time.monotonic() + 240  # importing torch on a busy machine
        url = f"http://127.0.0.1:{port}"
        while True:
            assert server.poll() is None, (folder / f"serve-{port}.log").read_text()
            assert time.monotonic() < limit
            try:
                if httpx.get(f"{url}/health").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url, server
    finally:
        server.kill()
        server.wait()
