"""Panels that must fit into so many tokens: what is left out, in which order, and saying so."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from heedful.errors import UserError
from heedful.panels import text
from heedful.panels.panel import Field, Panel
from heedful.types import Lang

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


def shown(panel: Panel, length: Callable[[str], int], limit: int) -> Panel:
    """What a model is shown of a panel: as many lines as fit; UserError if not even the plan does.

    The panel itself keeps every line: only the request is short.
    """
    cut, dropped = fit(panel, length, limit)
    if any(d.field == "plan" for d in dropped):
        raise UserError(_WORDS[panel.lang].plan)
    return cut


def said(dropped: list[Dropped], lang: Lang) -> str:
    """One sentence about the lines that a model is not shown, in the story's language; "" if it sees them all."""
    if not dropped:
        return ""
    words = _WORDS[lang]
    counts = {d.field: sum(o.field == d.field for o in dropped) for d in dropped}
    parts = [words.part.format(n=n, field=text.WORDS[lang].field[field]) for field, n in counts.items()]
    return words.whole.format(parts=words.between.join(parts))


@dataclass(frozen=True, slots=True)
class _Words:
    whole: str
    part: str
    between: str
    plan: str


_WORDS: Mapping[Lang, _Words] = {
    "en": _Words(
        "the panel is too long for one request: the model is not shown {parts}, the oldest; the story keeps them",
        "{n} of '{field}'",
        ", ",
        "the plan alone is too long for one request: say what comes next in fewer words",
    ),
    "zh": _Words(
        "面板太长，一次请求放不下：没有给模型看的有{parts}，都是最早的；故事里仍然保留",
        "“{field}”{n} 行",
        "、",
        "单是计划就太长，一次请求放不下：请用更少的字写接下来的事",
    ),
}
