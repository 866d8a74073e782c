"""JSON over HTTP to a server that is not trusted: limits on size and time, no redirects, patience when it is busy."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPException, HTTPResponse
from typing import Any, NoReturn
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from heedful.errors import UserError, said

_BUSY = {408, 425, 429, 500, 502, 503, 504}
_LONGEST_PAUSE = 60.0


def is_address(source: str) -> bool:
    """Whether this names a server rather than a folder."""
    return source.startswith(("http://", "https://"))


class Refused(UserError):
    """The server understood, and will not: a setting, a model or a key that it does not take."""


class _Transient(Exception):
    """Worth another try, after `pause` seconds where the server says how long."""

    def __init__(self, why: str, pause: float | None = None) -> None:
        super().__init__(why)
        self.pause = pause


class _NoRedirect(HTTPRedirectHandler):
    # urllib would send the key along to wherever the server points.
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


_opener = build_opener(_NoRedirect)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The base address of an API, as OpenAI's client takes it, e.g. http://localhost:8000/v1.

    A reply may take `timeout` seconds and `max_bytes`; it is asked for again up to `retries` times.
    """

    url: str
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 120.0
    retries: int = 5
    max_bytes: int = 16 << 20
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UserError(f"'{self.url}' is not a server's address: give one like http://localhost:8000/v1")
        if self.api_key is not None and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise UserError("the API key holds characters that no key has: check how it was copied")

    def get(self, path: str) -> dict[str, Any]:
        """Return the JSON object at url/path; UserError if there is none."""
        return self._ask(path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send `body` to url/path and return the JSON object that comes back; UserError if none does."""
        return self._ask(path, body)

    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Send `body` to url/path and yield the JSON objects of the event stream that comes back, as they come.

        UserError where it breaks off; nothing is asked for twice.
        """
        try:
            with _opener.open(self._request(path, body), timeout=self.timeout) as reply:
                for line in self._lines(reply):
                    if not line.startswith(b"data:"):
                        continue
                    if (data := line[5:].strip()) == b"[DONE]":
                        return
                    yield self._parsed(data)
            raise UserError(f"{self.url} broke off in the middle of an answer: ask again")
        except HTTPError as error:
            try:
                self._refused(error)
            except _Transient as problem:
                raise UserError(
                    f"no answer from {self.url} ({problem}): is the server not overloaded?"
                ) from error
        except (HTTPException, OSError) as error:
            raise UserError(f"{self.url} broke off ({said(str(error))}): is the server up?") from error

    def _lines(self, reply: HTTPResponse) -> Iterator[bytes]:
        size = 0
        while line := reply.readline(1 << 20):
            size += len(line)
            if size > self.max_bytes:
                raise UserError(
                    f"{self.url} sent more than {self.max_bytes} bytes as one reply: is it the API?"
                )
            yield line

    def _ask(self, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        for turn in range(self.retries + 1):
            try:
                return self._parsed(self._once(path, body))
            except _Transient as problem:
                if turn == self.retries:
                    raise UserError(
                        f"no answer from {self.url} in {turn + 1} tries ({problem}): is the server up, and not "
                        "overloaded?"
                    ) from problem
                pause = 0.5 * 2**turn if problem.pause is None else problem.pause
                self.sleep(min(pause, _LONGEST_PAUSE))
        raise AssertionError("unreachable")

    def _request(self, path: str, body: Mapping[str, Any] | None) -> Request:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        address = f"{self.url.rstrip('/')}/{path}"
        data = None if body is None else json.dumps(body).encode()
        return Request(address, data, headers, method="GET" if data is None else "POST")

    def _once(self, path: str, body: Mapping[str, Any] | None) -> bytes:
        request = self._request(path, body)
        deadline = time.monotonic() + self.timeout
        try:
            with _opener.open(request, timeout=self.timeout) as reply:
                return self._limited(reply, deadline)
        except HTTPError as error:
            self._refused(error)
        except (HTTPException, OSError) as error:
            raise _Transient(said(str(getattr(error, "reason", error)) or type(error).__name__)) from error

    def _limited(self, reply: HTTPResponse, deadline: float) -> bytes:
        data = bytearray()
        while part := reply.read1(1 << 16):
            data += part
            if len(data) > self.max_bytes:
                raise UserError(
                    f"{self.url} sent more than {self.max_bytes} bytes as one reply: is it the API?"
                )
            if time.monotonic() > deadline:
                raise _Transient(f"the reply took more than {self.timeout:g} seconds")
        if reply.length:
            raise _Transient("the reply was cut off")
        return bytes(data)

    def _refused(self, error: HTTPError) -> NoReturn:
        with error:
            if error.code in _BUSY:
                raise _Transient(f"HTTP {error.code}", _retry_after(error.headers))
            try:
                why = said(error.read(2000))
            except (HTTPException, OSError):
                why = ""
        raise Refused(f"{self.url} refused with HTTP {error.code}: {why or 'it does not say why'}") from error

    def _parsed(self, data: bytes) -> dict[str, Any]:
        try:
            found = json.loads(data, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.url} did not answer in JSON: is it the API's base address?") from error
        if not isinstance(found, dict):
            raise UserError(f"{self.url} did not answer with a JSON object: is it the API's base address?")
        return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _retry_after(headers: Message) -> float | None:
    value = headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None
