"""What a model may write when it is asked for lines of a panel: a regular expression, as a Lark grammar or JSON."""

import json
import re
from dataclasses import dataclass

from heedful.panels.panel import FIELDS, NAMED
from heedful.panels.text import WORDS
from heedful.types import Lang

_LINES = 40
_LONGEST = 160


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
