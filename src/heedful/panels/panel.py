"""The panel: who and what a story has, what is remembered, what holds, what is wanted, and what comes next.

The seed paper (M. Wen, "Contextual panel conditioning and reward models in large language models") names memory,
conditions, goals, plan and future tasks and gives no format. The format here is the project's own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from heedful.errors import UserError, nearest
from heedful.types import Lang

Field = Literal[
    "people",
    "places",
    "things",
    "long_memory",
    "rules",
    "goals",
    "future",
    "style",
    "short_memory",
    "plan",
]
NAMED: tuple[Field, ...] = ("people", "places", "things")
"""Fields of entries: a name, and the state that the one of this name is in."""
REWRITTEN: tuple[Field, ...] = ("short_memory", "plan")
"""Fields that are said anew at every passage, and so as a whole."""
FIELDS: tuple[Field, ...] = (
    *NAMED,
    "long_memory",
    "rules",
    "goals",
    "future",
    "style",
    *REWRITTEN,
)
"""All fields in the order of the text: what changes most stands last, nearest to the passage."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Someone or something by name, and its state in a few words (which may be unknown)."""

    name: str
    state: str = ""

    def __post_init__(self) -> None:
        if self.name != clean(self.name) or self.state != clean(self.state):
            raise ValueError("names and states are one line without space at the ends: use `clean`")
        if not self.name:
            raise UserError("an entry of a panel needs a name")


@dataclass(frozen=True, slots=True)
class Panel:
    """The materials of one passage. Any field may be empty; every text is one line (`clean`), none is empty.

    `people`, `places` and `things` have states; `long_memory` is what must never be forgotten, `short_memory` what
    has just happened; `rules` hold for the whole text; `plan` is what the next passage tells, in order, and
    `future` what is to come after it.
    """

    people: tuple[Entry, ...] = ()
    places: tuple[Entry, ...] = ()
    things: tuple[Entry, ...] = ()
    long_memory: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    goals: tuple[str, ...] = ()
    future: tuple[str, ...] = ()
    style: tuple[str, ...] = ()
    short_memory: tuple[str, ...] = ()
    plan: tuple[str, ...] = ()
    lang: Lang = "en"

    def __post_init__(self) -> None:
        for name in FIELDS:
            if name not in NAMED and any(not text or text != clean(text) for text in getattr(self, name)):
                raise ValueError(f"a text in {name} is empty or not one clean line: use `clean`")

    def entries(self, field: Field) -> tuple[Entry, ...]:
        """The entries of a field that has names."""
        return cast(tuple[Entry, ...], getattr(self, field))

    def texts(self, field: Field) -> tuple[str, ...]:
        """The texts of a field that has none."""
        return cast(tuple[str, ...], getattr(self, field))

    def empty(self, field: Field) -> bool:
        return not getattr(self, field)

    def with_field(self, field: Field, items: Iterable[Entry] | Iterable[str]) -> "Panel":
        """The same panel with other items in one field."""
        return replace(self, **cast(dict[str, Any], {field: tuple(items)}))

    def only(self, fields: Iterable[Field]) -> "Panel":
        """The same panel with all fields but these emptied."""
        kept = set(fields)
        return replace(self, **cast(dict[str, Any], {name: () for name in FIELDS if name not in kept}))

    def without(self, *fields: Field) -> "Panel":
        """The same panel with these fields emptied."""
        return self.only(name for name in FIELDS if name not in fields)


def clean(text: str) -> str:
    """A text as one line: every run of white space is one space, none at the ends."""
    return " ".join(text.split())


def known_field(name: str) -> Field:
    """The field of this name; UserError with the nearest one if there is none."""
    if name not in FIELDS:
        raise UserError(f"a panel has no field '{name}'.{nearest(name, FIELDS)} Known: {', '.join(FIELDS)}.")
    return name
