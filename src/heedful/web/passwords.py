"""Passwords: which are allowed, and how they are kept (Argon2id)."""

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from heedful.data.store.accounts import Refused

SHORTEST, LONGEST = 8, 256

_HASHER = PasswordHasher()


@cache
def _nobody() -> str:
    return _HASHER.hash("a password that nobody has")


def check(password: str, name: str) -> None:
    """Raise Refused for a password that others would try: short, common, or the name itself."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise Refused("password_length", f"A password has {SHORTEST} to {LONGEST} characters.")
    plain = password.casefold()
    if plain in FREQUENCY_LISTS["passwords"] or plain == name.casefold() or len(set(plain)) < 4:
        raise Refused("password_common", "This password is among the first that others would try.")


def hashed(password: str) -> str:
    """Return what is kept of a password: an Argon2id hash with its salt."""
    return _HASHER.hash(password)


def right(kept: str | None, password: str) -> bool:
    """Whether the password is the kept one; an account that does not exist takes as long."""
    try:
        return _HASHER.verify(kept or _nobody(), password) and kept is not None
    except (VerificationError, InvalidHashError):
        return False
