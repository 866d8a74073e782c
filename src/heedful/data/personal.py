"""Personal data in what people write to a model: found by patterns and masked before anything is stored."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType

from heedful.errors import UserError

PATTERNS: Mapping[str, str] = MappingProxyType(
    {
        "email": r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}",
        # Chinese resident identity numbers, US social security numbers, payment cards.
        "id": r"(?<!\d)(?:\d{17}[\dXx]|\d{3}-\d{2}-\d{4}|\d{4}(?:[ -]\d{4}){3})(?!\d)",
        # Seven digits or more, with the signs that people put between them; dates and amounts are shorter.
        "phone": r"(?<![A-Za-z0-9_.])(?:\+|00)?\(?\d{1,4}\)?(?:[ ./-]?\(?\d{2,4}\)?){2,5}(?![A-Za-z0-9_])",
    }
)
"""In the order of masking: what one has masked, the next does not see."""

_FEWEST_DIGITS = 7
_DATE = re.compile(r"\d{4}[./-]\d{1,2}[./-]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-]\d{4}")


def masked(text: str, patterns: Mapping[str, str] = PATTERNS) -> str:
    """The text with `[NAME]` in place of what the pattern of that name matches."""
    for name, pattern in patterns.items():
        text = re.sub(pattern, partial(_mask, name), text)
    return text


def chosen(words: Sequence[str]) -> dict[str, str]:
    """Patterns by what a person wrote: names of ours, NAME=REGEX for others, `none`; without words all of ours."""
    found: dict[str, str] = {} if words else dict(PATTERNS)
    for word in words:
        name, equals, pattern = word.partition("=")
        if not equals and name not in (*PATTERNS, "none"):
            raise UserError(
                f"'{word}' is no kind of personal data: {', '.join(PATTERNS)}, none, or NAME=REGEX"
            )
        try:
            found |= {name: re.compile(pattern).pattern} if equals else {}
        except re.error as error:
            raise UserError(f"'{pattern}' is no regular expression: {error}") from None
        found |= {name: PATTERNS[name]} if not equals and name != "none" else {}
    return found


def _mask(name: str, match: re.Match[str]) -> str:
    found = match[0]
    if name == "phone" and (sum(c.isdigit() for c in found) < _FEWEST_DIGITS or _DATE.fullmatch(found)):
        return found
    return f"[{name}]"
