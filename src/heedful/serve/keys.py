"""Who may ask: keys in a file that only its owner reads, and how often each may."""

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from heedful.data.cache import folder
from heedful.errors import UserError


def keys_of(file: Path) -> tuple[list[str], bool]:
    """The keys of a file, one a line, and whether it was made just now, with one new key. Lines with # are comments."""
    created = False
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as out:
                out.write(f"heedful-{secrets.token_urlsafe(32)}\n")
            created = True
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"the key file '{file}' cannot be used ({error}): give api_key or key_file"
        ) from error
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys or any(len(k) < 16 or not k.isascii() or not k.isprintable() or " " in k for k in keys):
        raise UserError(f"'{file}' must hold keys of 16 characters or more, one a line, without spaces")
    return keys, created


def default_file() -> Path:
    """Where the key lies that was made at the first start."""
    place = folder()
    if place is None:
        raise UserError("there is no place for a key file here: give api_key or key_file")
    return place / "serve.key"


class Keyring:
    """Keys as hashes, compared in a time that does not depend on them."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._hashes = [hashlib.sha256(key.encode()).digest() for key in keys]

    def owner(self, given: str) -> int | None:
        """Which key this is, or None."""
        found, seen = None, hashlib.sha256(given.encode(errors="replace")).digest()
        for number, known in enumerate(self._hashes):
            if hmac.compare_digest(known, seen):
                found = number
        return found


class Buckets:
    """A token bucket for each key: `burst` requests at once, and `rate` more a second."""

    def __init__(self, rate: float, burst: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._levels: dict[int, tuple[float, float]] = {}

    def take(self, owner: int) -> float:
        """Take one; 0 where there was one, else the seconds until there is."""
        now = self._clock()
        level, then = self._levels.get(owner, (float(self._burst), now))
        level = min(self._burst, level + (now - then) * self._rate)
        taken = level >= 1
        self._levels[owner] = (level - taken, now)
        return 0.0 if taken else (1 - level) / self._rate
