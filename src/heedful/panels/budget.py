"""Panels that must fit into so many tokens: what is left out, in which order, and saying so."""

from collections.abc import Callable
from dataclasses import dataclass

from heedful.panels import text
from heedful.panels.panel import Field, Panel

ORDER: tuple[Field, ...] = (
    "future",
    "long_memory",
    "short_memory",
    "places",
    "things",
    "style",
    "people",
    "goals",
    "rules",
    "plan",
)
"""Whose oldest items go first; the plan, which says what is to be written, goes last."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A line that did not fit."""

    field: Field
    line: str


def fit(panel: Panel, length: Callable[[str], int], limit: int) -> tuple[Panel, list[Dropped]]:
    """The panel with as many lines as `length` of its text allows, and the lines that were left out.

    Within a field the oldest line goes first; fields in the order of `ORDER`.
    """
    dropped: list[Dropped] = []
    for field in ORDER:
        while not panel.empty(field) and length(text.render(panel)) > limit:
            dropped.append(Dropped(field, text.lines(panel, field)[0]))
            panel = panel.with_field(field, getattr(panel, field)[1:])
    return panel, dropped


def said(dropped: list[Dropped], limit: int) -> str:
    """One sentence about what did not fit, or "" if nothing was left out."""
    if not dropped:
        return ""
    counts = {d.field: sum(o.field == d.field for o in dropped) for d in dropped}
    parts = ", ".join(f"{n} of {field}" for field, n in counts.items())
    return f"the panel is longer than {limit} tokens: left out {parts}, the oldest first"
