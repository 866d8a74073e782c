"""What stands before every route: which host, whose page, how large, and the headers of every response."""

import json
import logging
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heedful.web.settings import BODY_LIMIT, UPLOAD_LIMIT, Settings

CONTENT = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS = {
    "content-security-policy": CONTENT,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
SAFE = ("GET", "HEAD", "OPTIONS")
UPLOADS = ("/api/import",)
"""Paths whose bodies are files."""

log = logging.getLogger("heedful.web")


class TooLarge(Exception):
    """A body grew beyond its limit while it was read."""


class Guard:
    """ASGI middleware: refuses what no page of ours sends, and never shows a traceback."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._headers = dict(HEADERS)
        if settings.secure:
            self._headers["strict-transport-security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        begun, meter = False, _Meter(receive, limit_of(scope["path"]))

        async def send_guarded(message: Message) -> None:
            nonlocal begun
            # A framework may take the end of a body that is too large for its own kind of fault.
            if meter.over and not begun:
                begun = True
                await _answer(send_plain, 413, "too_large")
            if meter.over:
                return
            begun = True
            await send_plain(message)

        async def send_plain(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": self._with_headers(message.get("headers", []))}
            await send(message)

        refusal = self._refusal(scope)
        if refusal:
            await _answer(send_plain, *refusal)
            return
        try:
            await self._app(scope, meter.receive, send_guarded)
        except Exception as trouble:
            if not isinstance(trouble, TooLarge):
                log.exception("%s %s failed", scope["method"], scope["path"])
            if not begun:
                await _answer(send_plain, *((413, "too_large") if meter.over else (500, "fault")))

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if headers.get(b"host", "").lower() not in self._settings.hosts:
            return 421, "wrong_host"
        if scope["method"] not in SAFE:
            if headers.get(b"origin", self._settings.origin) not in self._settings.origins:
                return 403, "wrong_origin"
            if headers.get(b"sec-fetch-site", "same-origin") != "same-origin":
                return 403, "wrong_origin"
        length = headers.get(b"content-length", "0")
        if not (length.isascii() and length.isdigit()) or int(length) > limit_of(scope["path"]):
            return 413, "too_large"
        return None

    def _with_headers(self, given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        kept = list(given)
        names = {name.lower() for name, _ in kept}
        extra = [(name.encode(), value.encode()) for name, value in self._headers.items()]
        if b"cache-control" not in names:
            extra.append((b"cache-control", b"no-store"))
        return [*kept, *((name, value) for name, value in extra if name not in names)]


class _Meter:
    """Reads a body until it is larger than its limit."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._left = receive, limit

    @property
    def over(self) -> bool:
        return self._left < 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self.over:
            raise TooLarge
        return message


def limit_of(path: str) -> int:
    """The largest body, in bytes, that a path takes."""
    return UPLOAD_LIMIT if path.startswith(UPLOADS) else BODY_LIMIT


async def _answer(send: Send, status: int, code: str) -> None:
    body = json.dumps({"error": {"code": code, "message": code.replace("_", " ")}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
