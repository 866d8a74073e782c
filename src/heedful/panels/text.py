"""The one text of a panel, and its parser: parse(render(panel)) is the panel.

One line an item, which begins with the field's word, so that a line means the same wherever it stands:

    person Mina: in the mill
    thing the kite: in the barn
    plan Mina goes to the barn

In a name, a backslash stands before a colon and before a backslash. A patch has the same lines, and lines that
begin with `drop`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from heedful.errors import UserError
from heedful.panels.panel import FIELDS, NAMED, Entry, Field, Panel, clean
from heedful.types import Lang


@dataclass(frozen=True, slots=True)
class Words:
    """How a language writes the lines of a panel."""

    field: Mapping[Field, str]
    drop: str
    after_field: str
    colon: str
    after_colon: str


WORDS: Mapping[Lang, Words] = {
    "en": Words(
        {
            "people": "person",
            "places": "place",
            "things": "thing",
            "long_memory": "memory",
            "rules": "rule",
            "goals": "goal",
            "future": "future",
            "style": "style",
            "short_memory": "lately",
            "plan": "plan",
        },
        drop="drop",
        after_field=" ",
        colon=":",
        after_colon=" ",
    ),
    "zh": Words(
        {
            "people": "人物",
            "places": "地点",
            "things": "物品",
            "long_memory": "往事",
            "rules": "规则",
            "goals": "目标",
            "future": "以后",
            "style": "文风",
            "short_memory": "刚才",
            "plan": "计划",
        },
        drop="删去",
        after_field=" ",
        colon="：",
        after_colon="",
    ),
}


def render(panel: Panel) -> str:
    """The panel's text, one line an item in the order of `FIELDS`; an empty panel has the empty text."""
    return "\n".join(line for name in FIELDS for line in lines(panel, name))


def lines(panel: Panel, field: Field) -> list[str]:
    """The lines of one field."""
    if field in NAMED:
        return [entry_line(panel.lang, field, entry) for entry in panel.entries(field)]
    return [text_line(panel.lang, field, text) for text in panel.texts(field)]


def entry_line(lang: Lang, field: Field, entry: Entry) -> str:
    """One entry's line; without a state there is no colon."""
    words = WORDS[lang]
    name = re.sub(rf"([\\{words.colon}])", r"\\\1", entry.name)
    state = f"{words.colon}{words.after_colon}{entry.state}" if entry.state else ""
    return f"{words.field[field]}{words.after_field}{name}{state}"


def text_line(lang: Lang, field: Field, text: str) -> str:
    """One text's line."""
    words = WORDS[lang]
    return f"{words.field[field]}{words.after_field}{text}"


def parse(text: str, lang: Lang = "en") -> Panel:
    """The panel that a text spells; UserError names the first line that is none of a panel."""
    items: dict[Field, list[Entry | str]] = {name: [] for name in FIELDS}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        found = parse_line(line, lang)
        if found is None:
            known = ", ".join(WORDS[lang].field.values())
            raise UserError(
                f"line {number} of the panel is '{line.strip()[:60]}', but a line begins with one of {known}"
            )
        items[found[0]].append(found[1])
    return Panel(**{name: tuple(found) for name, found in items.items()}, lang=lang)  # type: ignore[arg-type]


def parse_line(line: str, lang: Lang) -> tuple[Field, Entry | str] | None:
    """The field and the item of one line, or None if it is no line of a panel."""
    words = WORDS[lang]
    start, _, rest = line.strip().partition(words.after_field)
    field = next((name for name, word in words.field.items() if word == start), None)
    if field is None or not (rest := clean(rest)):
        return None
    if field not in NAMED:
        return field, rest
    found = re.fullmatch(rf"((?:\\.|[^\\{words.colon}])*)(?:{words.colon}(.*))?", rest)
    if found is None:
        return None
    name = clean(re.sub(r"\\(.)", r"\1", found[1]))
    return (field, Entry(name, clean(found[2] or ""))) if name else None
