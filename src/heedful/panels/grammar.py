"""What a model may write when it is asked for lines of a panel: grammars in Lark's notation."""

import re

from heedful.panels.panel import FIELDS, NAMED
from heedful.panels.text import WORDS
from heedful.types import Lang

_LINES = 40
_LONGEST = 160


def patch(lang: Lang) -> str:
    """Lines of a patch, or none at all."""
    words = WORDS[lang]
    rest = rf"[^\n]{{1,{_LONGEST}}}"
    name = rf"[^\n\\{words.colon}]{{1,{_LONGEST}}}"
    named = "|".join(words.field[f] for f in NAMED)
    texts = "|".join(words.field[f] for f in FIELDS if f not in NAMED and f != "plan")
    after, colon = re.escape(words.after_field), f"{words.colon}{words.after_colon}"
    line = rf"({words.drop}{after})?(({named}){after}{name}({colon}{rest})?|({texts}){after}{rest})"
    return _lines(line, _LINES, empty=True)


def plan(lang: Lang, most: int = 5) -> str:
    """One line of a plan, or up to `most`."""
    words = WORDS[lang]
    return _lines(
        rf"{words.field['plan']}{re.escape(words.after_field)}[^\n]{{1,{_LONGEST}}}", most, empty=False
    )


def _lines(line: str, most: int, *, empty: bool) -> str:
    body = rf'LINE ("\n" LINE){{0,{most - 1}}}'
    return f"start: {'(' + body + ')?' if empty else body}\nLINE: /{line}/\n"
