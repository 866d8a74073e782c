"""The world's languages."""

from heedful.errors import UserError, nearest
from heedful.world.chinese import CHINESE
from heedful.world.english import ENGLISH
from heedful.world.lexicon import Lexicon

_LANGUAGES = {"en": ENGLISH, "zh": CHINESE}


def lexicon(lang: str) -> Lexicon:
    """The lexicon of a language, "en" or "zh"."""
    if lang not in _LANGUAGES:
        raise UserError(f"The built-in world speaks 'en' and 'zh', not '{lang}'.{nearest(lang, _LANGUAGES)}")
    return _LANGUAGES[lang]
