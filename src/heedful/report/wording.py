"""The page's sentences in the reader's language, and text made safe to show."""

from collections.abc import Mapping

from heedful.report import chinese, english
from heedful.types import Lang

LANGUAGES: Mapping[Lang, Mapping[str, str]] = {"en": english.WORDS, "zh": chinese.WORDS}

OVERRIDES = "\u202d\u202e"  # they show text in an order in which it was not written


class Words:
    """The wording of one language: `words(key, name=value)` fills in a sentence."""

    def __init__(self, lang: Lang) -> None:
        self.lang = lang
        self._known = LANGUAGES[lang]

    def __call__(self, key: str, **values: object) -> str:
        return self._known[key].format(**values)

    def named(self, kind: str, name: str) -> str:
        """The name of a policy, stage, task or measure; one that we do not know is shown as it is."""
        return self._known.get(f"{kind}_{name}", clean(name))


def clean(text: str) -> str:
    """Show control characters as symbols and lone surrogates, which HTML cannot hold, as U+FFFD."""
    return "".join(map(_shown, text))


def _shown(letter: str) -> str:
    code = ord(letter)
    if letter in "\n\t" or 32 <= code < 127:
        return letter
    if code < 32:
        return chr(0x2400 + code)
    if 127 <= code < 160 or 0xD800 <= code < 0xE000 or code & 0xFFFE == 0xFFFE or letter in OVERRIDES:
        return "\ufffd"
    return letter
