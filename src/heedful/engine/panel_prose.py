"""Passages held to their panels, by the rules of `panels.consistency`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from heedful.engine.panel_author import Author
from heedful.panels.consistency import Mark, marks
from heedful.panels.desk import Ask
from heedful.panels.panel import Panel

_AT_ONCE = 4  # drafts that share the computation of a prompt
_TURNS = 200  # a model that never ends its passage is stopped


def held(
    author: Author,
    asks: Sequence[Ask],
    panels: Sequence[Panel],
    *,
    drafts: int,
    temperature: float,
    max_completion_length: int,
    seed: Sequence[Any],
) -> list[str]:
    """A passage for each request. The first draft is drawn at `temperature`, and with `drafts` 1 that is all.

    A sentence that speaks against the panel is drawn again with all that follows, at a temperature of 1 at least. After
    `drafts` it is left out, if it is not the whole passage. A server begins anew each time: of its drafts the one with
    the fewest such sentences is kept, and they are left out.
    """
    how: dict[str, Any] = {"max_completion_length": max_completion_length}
    if not author.continues:

        def count(number: int, text: str) -> int:
            return len(marks(panels[number], text))

        whole = author.kept(asks, count, drafts=drafts, temperature=temperature, seed=seed, **how)
        return [without(p, t) if drafts > 1 else t for p, t in zip(panels, whole, strict=True)]
    told = [text for (text,) in author.answer(asks, temperature=temperature, seed=seed, **how)]
    tried = [1] * len(told)
    for turn in range(_TURNS if drafts > 1 else 0):
        faulty = {i: found[0] for i, text in enumerate(told) if (found := marks(panels[i], text))}
        again = {i: mark for i, mark in faulty.items() if tried[i] < drafts}
        if not again:
            break
        asked = [
            replace(asks[i], n=min(_AT_ONCE, drafts - tried[i]), begun=told[i][: mark.start])
            for i, mark in again.items()
        ]
        drawn = author.answer(asked, temperature=max(1.0, temperature), seed=(*seed, "again", turn), **how)
        for (i, mark), texts in zip(again.items(), drawn, strict=True):
            best = max(texts, key=lambda text: _faultless(panels[i], text))
            if _faultless(panels[i], best) > mark.start:
                told[i], tried[i] = best, 1
                continue
            tried[i] += len(texts)
            if tried[i] >= drafts and (rest := cut(told[i], mark)):
                told[i], tried[i] = rest, 1
    return [without(p, t) if drafts > 1 else t for p, t in zip(panels, told, strict=True)]


def without(panel: Panel, passage: str) -> str:
    """A passage without the sentences that speak against its panel; the last that would be left stays."""
    while (found := marks(panel, passage)) and (rest := cut(passage, found[0])):
        passage = rest
    return passage


def cut(passage: str, mark: Mark) -> str:
    """A passage without a sentence."""
    return (passage[: mark.start].rstrip() + passage[mark.end :]).strip()


def _faultless(panel: Panel, passage: str) -> int:
    """How many characters stand before the first sentence that speaks against the panel."""
    found = marks(panel, passage)
    return found[0].start if found else len(passage) + 1
