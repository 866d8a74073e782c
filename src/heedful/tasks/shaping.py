"""What can be said of an answer from its text alone: its length, how much it repeats itself, whether its form fits."""

import re
from collections.abc import Sequence


def length(texts: Sequence[str], *, free: int = 0) -> list[float]:
    """Characters beyond the first `free`."""
    return [float(max(len(text) - free, 0)) for text in texts]


def repetition(texts: Sequence[str], *, n: int = 4) -> list[float]:
    """The share of n-grams that stood in the text before; of words, and of characters where no spaces part words."""
    return [_repeated(text.split() if " " in text.strip() else list(text.strip()), n) for text in texts]


def form(texts: Sequence[str], *, pattern: str) -> list[float]:
    """1 where the whole text matches the regular expression (a dot matches a line's end too), else 0."""
    found = re.compile(pattern, re.DOTALL)
    return [float(found.fullmatch(text) is not None) for text in texts]


def _repeated(parts: Sequence[str], n: int) -> float:
    grams = [tuple(parts[i : i + n]) for i in range(len(parts) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
