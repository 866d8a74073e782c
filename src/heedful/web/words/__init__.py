"""The studio's sentences in English and Simplified Chinese; every module here holds both, side by side."""

from collections.abc import Mapping

from heedful.types import Lang
from heedful.web.words import chat, common, desk, research, work

MODULES = (common, work, chat, desk, research)
LANGUAGES: Mapping[Lang, Mapping[str, str]] = {
    "en": {key: text for module in MODULES for key, text in module.ENGLISH.items()},
    "zh": {key: text for module in MODULES for key, text in module.CHINESE.items()},
}


class Words:
    """The wording of one language: `words(key, name=value)` fills in a sentence."""

    def __init__(self, lang: Lang) -> None:
        self.lang = lang
        self._known = LANGUAGES[lang]

    def __call__(self, key: str, **values: object) -> str:
        return self._known[key].format(**values)

    def named(self, kind: str, name: str) -> str:
        """The name of one of our kinds of thing; one that we do not know is shown as it is."""
        return self._known.get(f"{kind}_{name}", name)


def chosen(accepted: str, fallback: Lang) -> Lang:
    """The first language of an Accept-Language header that we have, else `fallback`."""
    for part in accepted.split(","):
        tag = part.split(";")[0].strip().lower()
        for lang in LANGUAGES:
            if tag == lang or tag.startswith(f"{lang}-"):
                return lang
    return fallback
