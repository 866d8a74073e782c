"""The verb `studio`: open the store, print where to go, and serve until told to stop."""

import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import uvicorn

from heedful.data import personal
from heedful.data.store import Store
from heedful.errors import UserError
from heedful.types import Lang
from heedful.web import model_child
from heedful.web.app import create_app
from heedful.web.settings import Settings, origin_of
from heedful.web.studio import Studio

LOOPBACK = ("127.0.0.1", "::1", "localhost")

SAID: dict[Lang, dict[str, str]] = {
    "en": {
        "serving": "The studio on {store} is at {origin}  (Ctrl+C stops it)",
        "first": "First start: open this link once, within a day, to become the administrator:\n  {link}",
    },
    "zh": {
        "serving": "标注室（{store}）已在 {origin} 启动（按 Ctrl+C 停止）",
        "first": "首次启动：请在一天内打开此链接一次，成为管理员：\n  {link}",
    },
}


def language_of(name: str) -> Lang:
    """Return a language of the studio by its name."""
    if name not in SAID:
        raise UserError(f"The studio speaks en and zh, not '{name}': choose one of them.")
    return "zh" if name == "zh" else "en"


def serve(
    where: str,
    *,
    host: str,
    port: int,
    origin: str = "",
    certificate: Path | None = None,
    key: Path | None = None,
    language: Lang = "en",
    models: Sequence[str] = (),
    mask: Sequence[str] = (),
) -> None:
    """Serve the studio on a store until the process is asked to end; `models` are those that people talk to.

    `mask` says which personal data is taken out of what they say, as in `data.personal.chosen`.

    Beyond the loopback it insists on https: by `certificate` and `key`, or behind a proxy whose address is
    `origin`.
    """
    if (certificate is None) != (key is None):
        raise UserError("Give both the certificate and its key, or neither.")
    for file in (certificate, key):
        if file is not None and not file.is_file():
            raise UserError(f"There is no file {file}: check the path.")
    asked = origin_of(origin, host, port, secure=certificate is not None)
    if host not in LOOPBACK and not asked.startswith("https://"):
        raise UserError(
            f"On {host} passwords would travel in the clear: give --certificate and --key, or the "
            "--origin https://... of a proxy in front of the studio."
        )
    with (
        Store.open(where) as store,
        _listen(host, port) as listening,
        model_child.serving(models) as (model, model_key),
    ):
        bound: int = listening.getsockname()[1]
        address = origin_of(origin, host, bound, secure=certificate is not None)
        settings = Settings(address, language, patterns=personal.chosen(mask))
        app = create_app(store, replace(settings, model=model, model_key=model_key))
        _announce(app.state.studio, where, language)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                server_header=False,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=10,
                h11_max_incomplete_event_size=65_536,
                ssl_certfile=certificate,
                ssl_keyfile=key,
            )
        )
        server.run(sockets=[listening])


def _announce(studio: Studio, where: str, language: Lang) -> None:
    said, origin = SAID[language], studio.settings.origin
    print(said["serving"].format(store=where, origin=origin), file=sys.stderr)
    token = studio.accounts.first_invitation()
    if token is not None:
        print(said["first"].format(link=f"{origin}/invitation/{token}"), file=sys.stderr, flush=True)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(128)  # from now on whoever follows the link waits instead of being refused
    except OSError as trouble:
        made.close()
        raise UserError(
            f"{host}:{port} cannot be listened on ({trouble.strerror}): choose another --port, or 0 for any."
        ) from None
    return made
