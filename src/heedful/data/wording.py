"""Values of a user's file as they may stand in a one-line message."""

from collections.abc import Iterable
from itertools import islice


def shown(value: object, longest: int = 40) -> str:
    """A value, quoted, escaped and cut."""
    text = repr(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def listed(names: Iterable[str], most: int = 12) -> str:
    """Names with commas between them, at most a dozen."""
    first = [shown(name).strip("'") for name in islice(names, most + 1)]
    return ", ".join(first[:most]) + (", …" if len(first) > most else "")


def kind(value: object) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    names = {bool: "true or false", str: "text", dict: "an object", list: "a list", bytes: "bytes"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)
