"""Plain text to pretrain a small writer on: names said again, panels said again, stories; no panel with its passage.

What is to be measured is what a panel does, so nothing here shows a passage beside the panel that it is written from.
"""

from collections.abc import Iterator
from random import Random

from heedful.panels import text
from heedful.types import Lang
from heedful.world import corpus, saga
from heedful.world.languages import lexicon
from heedful.world.story import Split

_FIRST = 0.2  # share of the documents that are lists of names and stand at the beginning
_LISTS, _PANELS = 0.1, 0.3  # shares of the other documents
_EASY = 0.6  # share of the documents over which stories said twice give way to whole ones
_APART = 1_000_000  # numbers of stories that nothing else begins from


def documents(lang: Lang, seed: int, count: int, passages: int, split: Split = "train") -> Iterator[str]:
    """Documents in the order to learn from: lists, then short stories said twice and panels, then whole stories."""
    lex = lexicon(lang)
    first = round(_FIRST * count) if split == "train" else 0
    for index in range(count):
        rng = Random(f"saga corpus {lang} {split} {seed} {index}")
        ease = max(0.0, 1 - (index - first) / (_EASY * count)) if split == "train" else 0.0
        kind = rng.random()
        if index < first or kind < _LISTS:
            yield corpus.names_list(lex, rng)
            continue
        told = list(saga.saga(lang, seed, _APART + index, passages, split))
        if kind < _LISTS + _PANELS:
            lines = text.render(rng.choice(told).after).split("\n")
            yield "\n".join([*lines, *rng.sample(lines, len(lines))])
        elif rng.random() < ease:
            yield "\n".join([p.text for p in told[:2]] * 2)
        else:
            yield "\n".join(p.text for p in told)
