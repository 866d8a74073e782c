"""What the studio is told when it starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from heedful.data.personal import PATTERNS
from heedful.errors import UserError
from heedful.types import Lang

LOCAL = ("127.0.0.1", "localhost", "[::1]")

BODY_LIMIT = 1_000_000
"""Bytes of an ordinary request."""
UPLOAD_LIMIT = 64_000_000
"""Bytes of an imported file."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`origin` is the address that browsers use; requests to another host, or from another origin, are refused.

    `language` is shown to people whose browser asks for none that we have. `model` is the address of an
    OpenAI-compatible server for the pages that talk to a model, "" if there is none; `model_key` is its key.
    `patterns` name the personal data that is masked in what people say to a model.
    """

    origin: str
    language: Lang = "en"
    model: str = ""
    model_key: str = field(default="", repr=False)
    patterns: Mapping[str, str] = field(default_factory=lambda: PATTERNS)

    @property
    def secure(self) -> bool:
        """Whether browsers come over https, so that cookies are theirs alone."""
        return self.origin.startswith("https://")

    @property
    def origins(self) -> frozenset[str]:
        """The addresses that are this studio: on the loopback, under each of its names."""
        parts = urlsplit(self.origin)
        local = f"[{parts.hostname}]" if parts.hostname == "::1" else parts.hostname
        if local not in LOCAL:
            return frozenset({self.origin})
        port = "" if parts.port is None else f":{parts.port}"
        return frozenset(f"{parts.scheme}://{name}{port}" for name in LOCAL)

    @property
    def hosts(self) -> frozenset[str]:
        """The values of the Host header that are answered."""
        return frozenset(origin.partition("://")[2] for origin in self.origins)


def origin_of(given: str, host: str, port: int, *, secure: bool) -> str:
    """Return the origin that browsers use: the one given, or the address that is listened on."""
    if not given:
        return f"http{'s' if secure else ''}://{f'[{host}]' if ':' in host else host}:{port}"
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise UserError(f"'{given}' is not an origin: write https://NAME or https://NAME:PORT.")
    return f"{parts.scheme}://{parts.netloc}"
