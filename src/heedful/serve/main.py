"""`heedful serve`: load what is to be served, and listen."""

import os
import socket

import uvicorn

from heedful.engine import terminal
from heedful.errors import UserError
from heedful.serve import keys
from heedful.serve.app import build
from heedful.serve.backend import Backend
from heedful.serve.config import ServeConfig
from heedful.serve.local import LocalEngine
from heedful.serve.metrics import Metrics


def main(config: ServeConfig) -> None:
    """Serve until a signal comes."""
    listening = listen(config.host, config.port)  # first: models take long to load
    metrics = Metrics()
    known, note = known_keys(config)
    app = build(config, engine(config, metrics), metrics, known)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=1 << 16,
            limit_concurrency=4096,
        )
    )
    models = ", ".join([*app.state.backend.models, *app.state.backend.rewards])
    port: int = listening.getsockname()[1]
    terminal.say(f"serve      {models} at http://{config.host}:{port}/v1  ({note})")
    server.run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on the address."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(2048)
    except OSError as error:
        made.close()
        raise UserError(
            f"{host}:{port} cannot be listened on ({error.strerror}): choose another port="
        ) from None
    return made


def engine(config: ServeConfig, metrics: Metrics) -> Backend:
    """The engine that the configuration names."""
    if config.engine == "vllm":
        from heedful.serve.vllm import VllmEngine

        return VllmEngine.load(config, metrics)
    return LocalEngine(config, metrics)


def known_keys(config: ServeConfig) -> tuple[list[str], str]:
    """The keys, and what to say about them; a key that was made just now is shown this once."""
    if given := config.api_key or os.environ.get("HEEDFUL_API_KEY"):
        return [given], "key: as given"
    file = config.key_file or keys.default_file()
    found, created = keys.keys_of(file)
    return found, f"new key: {found[0]}, kept in {file}" if created else f"key: in {file}"
