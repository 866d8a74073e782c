"""Reward models on files of fixed answers, as RewardBench has them: prompt, chosen, rejected, subset."""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from heedful.data import files, formats, shapes
from heedful.data.shapes import Shape
from heedful.engine.heldout import accurate
from heedful.engine.scorer import Scorer
from heedful.types import Message, Prompt


@dataclass(frozen=True)
class Item:
    """A prompt, the answers that should score higher, those that should score lower, and the subset it belongs to."""

    messages: tuple[Message, ...]
    chosen: tuple[str, ...]
    rejected: tuple[str, ...]
    subset: str


def read_suite(path: str | Path) -> list[Item]:
    """Read preferences of any format with a column `subset`; rows without one belong to "all".

    `chosen` and `rejected` may be lists of texts, as RewardBench 2 has them (Malik et al. 2025, arXiv:2506.01937).
    """

    def build(row: files.Row, shape: Shape) -> list[Item]:
        subset = formats.short(row, "subset") or "all"
        if not (_lists(row, "chosen") or _lists(row, "rejected")):
            pairs = formats.preferences_of(row, shape)
            return [Item(p.messages, (p.chosen,), (p.rejected,), subset) for p in pairs]
        sides = product(*(_answers(row, name) for name in ("chosen", "rejected")))
        rows = [replace(row, data={**row.data, "chosen": c, "rejected": r}) for c, r in sides]
        found = [pair for each in rows for pair in formats.preferences_of(each, shape)]
        chosen, rejected = ({p.chosen: None for p in found}, {p.rejected: None for p in found})
        return [Item(found[0].messages, tuple(chosen), tuple(rejected), subset)]

    return formats.gather(files.read_rows(path), shapes.PREFERENCES, "preferences", build, None, None)


def _lists(row: files.Row, name: str) -> bool:
    """Whether a column lists several answers as texts; one answer may be a list of messages."""
    value = row.data.get(name)
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def _answers(row: files.Row, name: str) -> list[Any]:
    return list(row.data[name]) if _lists(row, name) else [row.data.get(name)]


def on_suite(scorer: Scorer, suite: list[Item]) -> dict[str, Any]:
    """Accuracy by subset, over all items, and the mean of the subsets: an item counts once, with 95 % intervals.

    It is right where the worst chosen answer scores above the best rejected one; equal scores count half.
    """
    scores = scorer.scores(
        [Prompt("", item.messages) for item in suite], [(*item.chosen, *item.rejected) for item in suite]
    )
    margin = np.asarray(
        [min(row[: len(i.chosen)]) - max(row[len(i.chosen) :]) for i, row in zip(suite, scores, strict=True)]
    )
    asked: dict[Any, int] = {}
    prompt = np.asarray([asked.setdefault(item.messages, len(asked)) for item in suite])
    names = np.asarray([item.subset for item in suite])
    by_subset = {
        str(name): accurate(margin[names == name], prompt[names == name])
        for name in dict.fromkeys(names.tolist())
    }
    return {
        "accuracy": accurate(margin, prompt),
        "mean_of_subsets": float(np.mean([found["value"] for found in by_subset.values()])),
        "by_subset": by_subset,
    }
