"""Random numbers that depend on names, not on order."""

import hashlib


def chance(*parts: str | int) -> float:
    """A number in [0, 1) that always belongs to these parts."""
    text = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") / 2.0**64


def shuffled(n: int, *parts: str | int) -> list[int]:
    """The numbers below n in an order that always belongs to these parts."""
    return sorted(range(n), key=lambda number: chance(*parts, number))
