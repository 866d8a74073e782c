"""How well a panel was found: precision, recall and F1 of its items against the true one, a field at a time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from heedful.panels import text
from heedful.panels.panel import FIELDS, Field, Panel


@dataclass(frozen=True, slots=True)
class Hits:
    """Items found and true, found, and true."""

    right: int = 0
    found: int = 0
    true: int = 0

    def __add__(self, other: "Hits") -> "Hits":
        return Hits(self.right + other.right, self.found + other.found, self.true + other.true)

    @property
    def precision(self) -> float | None:
        return self.right / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        return self.right / self.true if self.true else None

    @property
    def f1(self) -> float | None:
        """2 right / (found + true); None where there is nothing to find and nothing was found."""
        return 2 * self.right / (self.found + self.true) if self.found + self.true else None


def compare(found: Panel, true: Panel) -> dict[Field, Hits]:
    """Hits of every field; an item is right if its whole line is, name and state."""
    counted = {}
    for field in FIELDS:
        a, b = set(text.lines(found, field)), set(text.lines(true, field))
        counted[field] = Hits(len(a & b), len(a), len(b))
    return counted


def total(rows: Iterable[Mapping[Field, Hits]]) -> dict[Field, Hits]:
    """The hits of many panels, added up by field."""
    summed = dict.fromkeys(FIELDS, Hits())
    for row in rows:
        summed = {field: summed[field] + row[field] for field in FIELDS}
    return summed


def overall(hits: Mapping[Field, Hits]) -> Hits:
    """The hits of all fields together."""
    return sum(hits.values(), Hits())
