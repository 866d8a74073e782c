"""A reader without a model: names by their capitals, and what a sentence is about by its rare words.

It is no match for a model that reads, and it needs none: any English text has panels at once, cheap and the same
every time, as a baseline for readers and as material for the study of real text.
"""

import re
from collections import Counter
from collections.abc import Iterable

from heedful.panels.panel import Entry, Panel

_WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*")
_SENTENCE = re.compile(r"[^.!?\n]+")
_NOT_NAMES = frozenset({"i", "i'm", "i'll", "i've", "i'd", "mr", "mrs", "god", "o", "oh"})
_QUOTES = "‘“\"'(—"


def common_words(texts: Iterable[str], most: int = 200) -> frozenset[str]:
    """The words that say least of what a text is about, since every text has them."""
    counts = Counter(word.lower() for text in texts for word in _WORD.findall(text))
    return frozenset(word for word, _ in counts.most_common(most))


def read(before: Panel, passage: str, common: frozenset[str], *, keywords: int = 4, people: int = 8) -> Panel:
    """The panel after a passage: the people met last, and the rarest words of each sentence in their order."""
    met = [e.name for e in before.people]
    for name in names(passage):
        met = [*(n for n in met if n != name), name]
    lately = []
    for sentence in _SENTENCE.findall(passage):
        words = [w for w in _WORD.findall(sentence) if w.lower() not in common]
        told = list(dict.fromkeys(words))[:keywords]
        if told:
            lately.append(" ".join(told))
    return Panel(
        people=tuple(Entry(name) for name in met[-people:]),
        goals=before.goals,
        rules=before.rules,
        style=before.style,
        short_memory=tuple(lately),
        lang=before.lang,
    )


def names(passage: str) -> list[str]:
    """Words with a capital that begin no sentence and no speech, in order, each once."""
    found = []
    for sentence in _SENTENCE.findall(passage):
        for match in list(_WORD.finditer(sentence))[1:]:
            word = match[0].removesuffix("'s").removesuffix("’s")
            speech = sentence[match.start() - 1] in _QUOTES
            if word.istitle() and not speech and word.lower() not in _NOT_NAMES and len(word) > 1:
                found.append(word)
    return list(dict.fromkeys(found))
