"""A model server of the studio's own: `heedful serve` as a child process, so that no page ever imports a model."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence


@contextlib.contextmanager
def serving(models: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Serve these models on the loopback, or name a server that is given by its address; yield address and key.

    The child is told to end when the studio does. It needs a while to load; the page says so.
    """
    if not models or models[0].startswith(("http://", "https://")):
        yield (models[0] if models else ""), ""
        return
    key, port = secrets.token_urlsafe(32), _free_port()
    further = [f"models.{name_of(place)}={place}" for place in models[1:]]
    command = [sys.executable, "-m", "heedful", "serve", models[0], *further, f"port={port}"]
    child = subprocess.Popen(command, env={**os.environ, "HEEDFUL_API_KEY": key})
    try:
        yield f"http://127.0.0.1:{port}/v1", key
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def name_of(place: str) -> str:
    """A model's name from its folder: the last that is not called `model`; a dot would begin a setting of it."""
    parts = [part for part in place.replace("\\", "/").split("/") if part not in ("", ".", "..", "model")]
    return (parts[-1] if parts else "model").replace(".", "-")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
