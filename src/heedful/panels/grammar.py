"""What a model may write when it is asked for lines of a panel: a regular expression, as a Lark grammar or JSON.

A *closed cast* says that a panel knows everyone and everything there is. A plan then names nobody else, unless a line
`introduce NAME` brings somebody in, and an update changes only what its passage names.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from heedful.panels import text
from heedful.panels.consistency import mentioned
from heedful.panels.panel import FIELDS, NAMED, Entry, Panel
from heedful.panels.text import WORDS
from heedful.types import Lang

_LINES = 40
_LONGEST = 160
INTRODUCE: Mapping[Lang, str] = {"en": "introduce ", "zh": "引入"}
"""How a line of a plan begins that brings in somebody or something the panel does not know."""
# A word in small letters that is not "the": without lookahead, which not every sampler has.
_WORD = r"(t|th|([a-su-z]|t[a-gi-z]|th[a-df-z]|the[a-z])[a-z'’-]*)"
_WHERE = r"(in|into|to|at|from|on|near|of) the [a-z'’-]+"  # a place may be new


@dataclass(frozen=True, slots=True)
class Form:
    """From `least` to `most` lines, each of which the regular expression `line` matches."""

    line: str
    least: int
    most: int

    @property
    def lark(self) -> str:
        """The lines as they are, for a sampler that takes Lark's notation."""
        body = rf'LINE ("\n" LINE){{0,{self.most - 1}}}'
        return f"start: {body if self.least else '(' + body + ')?'}\nLINE: /{self.line}/\n"

    @property
    def schema(self) -> str:
        """The lines as {"lines": [...]}: a JSON schema, which is what servers can keep an answer to."""
        item = {"type": "string", "pattern": f"^({self.line})$"}
        lines = {"type": "array", "items": item, "minItems": self.least, "maxItems": self.most}
        whole = {"type": "object", "properties": {"lines": lines}, "required": ["lines"]}
        return json.dumps({**whole, "additionalProperties": False}, ensure_ascii=False)

    @property
    def response_format(self) -> dict[str, Any]:
        """The schema as a request to an OpenAI-compatible server names it."""
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": json.loads(self.schema)}}


def lines_of(answer: str) -> str:
    """The lines of an answer that keeps to `Form.schema`; any other answer as it is."""
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return answer
    lines = found.get("lines") if isinstance(found, dict) else None
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        return answer
    return "\n".join(" ".join(line.split()) for line in lines)


def patch(lang: Lang) -> Form:
    """Lines of a patch, or none at all."""
    words = WORDS[lang]
    rest = rf"[^\n]{{1,{_LONGEST}}}"
    name = rf"[^\n\\{words.colon}]{{1,{_LONGEST}}}"
    named = "|".join(words.field[f] for f in NAMED)
    texts = "|".join(words.field[f] for f in FIELDS if f not in NAMED and f != "plan")
    after, colon = re.escape(words.after_field), f"{words.colon}{words.after_colon}"
    drop = f"({words.drop}{after})?"
    return Form(rf"{drop}(({named}){after}{name}({colon}{rest})?|({texts}){after}{rest})", 0, _LINES)


def plan(lang: Lang, most: int = 5) -> Form:
    """One line of a plan, or up to `most`."""
    words = WORDS[lang]
    return Form(rf"{words.field['plan']}{re.escape(words.after_field)}[^\n]{{1,{_LONGEST}}}", 1, most)


def closed_plan(panel: Panel, most: int = 5) -> Form:
    """A plan about nobody and nothing but what the panel has.

    In English a name is a word with a capital, or what follows "the" but for a place ("in the mill"). Chinese shows
    neither, so there each line has to name somebody or something of the panel, and may name others too.
    """
    lang = panel.lang
    names = _any(e.name for f in NAMED for e in panel.entries(f))
    if not names:
        return plan(lang, most)
    new = rf"{INTRODUCE[lang]}[^\n]{{1,{_LONGEST}}}"
    if lang == "en":
        part = rf"({names}(['’]s)?|{_WHERE}|{_WORD})"
        about = rf"{part}(,? {part})*"
    else:
        about = rf"[^\n]*{names}[^\n]*"
    return Form(rf"{WORDS[lang].field['plan']}{re.escape(WORDS[lang].after_field)}({new}|{about})", 1, most)


def closed_patch(panel: Panel, passage: str) -> Form:
    """An update that changes the states only of what the panel has and the passage names.

    Where the panel is empty or its plan introduces somebody, an update may name anyone.
    """
    lang, words = panel.lang, WORDS[panel.lang]
    entries = {f: [e for e in panel.entries(f) if mentioned(e.name, passage)] for f in NAMED}
    known = any(panel.entries(f) for f in NAMED)
    if not known or any(line.startswith(INTRODUCE[lang]) for line in panel.plan):
        return patch(lang)
    rest, after = rf"[^\n]{{1,{_LONGEST}}}", re.escape(words.after_field)
    colon = f"{words.colon}{words.after_colon}"
    texts = "|".join(words.field[f] for f in FIELDS if f not in NAMED and f != "plan")
    lines = [rf"({texts}){after}{rest}"]
    for field, some in entries.items():
        if some:
            lines.append(
                rf"{_any(text.entry_line(lang, field, Entry(e.name)) for e in some)}({colon}{rest})?"
            )
    return Form(rf"({words.drop}{after})?({'|'.join(lines)})", 0, _LINES)


def _any(words: Iterable[str]) -> str:
    """Any of the words, the longest first; "" if there are none."""
    found = sorted(set(words), key=lambda w: (-len(w), w))
    return f"({'|'.join(map(_literal, found))})" if found else ""


def _literal(words: str) -> str:
    """Words as a regular expression, with no escapes but those that JSON schemas and Lark both know."""
    return re.sub(r"([\\^$.|?*+()\[\]{}/])", r"\\\1", words)
