"""The one exception whose message is meant for the person at the keyboard, and what helps to word it."""

import json
from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches


class UserError(Exception):
    """Something the user can mend. The message is one sentence that says what to do; the CLI exits with 2."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the choice nearest to `word`, or "" if none is near."""
    found = get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" Did you mean '{found[0]}'?" if found else ""


def said(reply: bytes | str) -> str:
    """What a server that refused says, as one line: its error's message (OpenAI's form), else its text, if not HTML."""
    text = reply.decode(errors="replace") if isinstance(reply, bytes) else reply
    if text.lstrip().startswith("<"):
        return ""
    with suppress(ValueError, LookupError, TypeError, RecursionError):
        text = str(json.loads(text)["error"]["message"])
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))[:300]
