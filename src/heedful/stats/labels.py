"""From judgements to arrays: who said what about which item."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heedful.types import Comparison, Rating

Ints = NDArray[np.intp]
Label = tuple[Hashable, Hashable, Hashable]
"""Item, annotator, value."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels in long form: entry i says that annotator[i] gave item[i] the value values[value[i]]."""

    items: tuple[Hashable, ...]
    annotators: tuple[Hashable, ...]
    values: tuple[Hashable, ...]
    item: Ints
    annotator: Ints
    value: Ints


def encode(labels: Iterable[Label]) -> Labels:
    """Number the items and annotators as they come, and the values in sorted order.

    An annotator who labelled an item several times counts with each label; see `latest`.
    """
    rows = list(labels)
    items: dict[Hashable, int] = {}
    annotators: dict[Hashable, int] = {}
    for item, annotator, _ in rows:
        items.setdefault(item, len(items))
        annotators.setdefault(annotator, len(annotators))
    values = {value: n for n, value in enumerate(_ordered({row[2] for row in rows}))}
    return Labels(
        tuple(items),
        tuple(annotators),
        tuple(values),
        np.asarray([items[row[0]] for row in rows], dtype=np.intp),
        np.asarray([annotators[row[1]] for row in rows], dtype=np.intp),
        np.asarray([values[row[2]] for row in rows], dtype=np.intp),
    )


def latest(labels: Iterable[Label]) -> list[Label]:
    """Keep the last label of each annotator for each item: nobody agrees or disagrees with themselves."""
    return [(item, who, value) for (item, who), value in {(row[0], row[1]): row[2] for row in labels}.items()]


def matrix_labels(rows: Sequence[Sequence[Hashable | None]]) -> list[Label]:
    """Read a matrix with a row an annotator and a column an item; None marks a missing value."""
    return [
        (item, annotator, value)
        for annotator, row in enumerate(rows)
        for item, value in enumerate(row)
        if value is not None
    ]


def count_table(labels: Labels) -> NDArray[np.float64]:
    """Count how often each item got each value: items x values."""
    shape = (len(labels.items), len(labels.values))
    flat = np.bincount(labels.item * shape[1] + labels.value, minlength=shape[0] * shape[1])
    return flat.reshape(shape).astype(np.float64)


def votes(comparisons: Iterable[Comparison]) -> list[Label]:
    """Turn comparisons into labels 1, 0 or -1 of the pair (prompt, criterion, answer, other answer).

    The pair is named in one order, whichever side was shown first; 1 means that its first answer is better,
    0 that they are about the same. The strength is left out.
    """
    found: list[Label] = []
    for comparison in comparisons:
        sign = int(np.sign(comparison.preference))
        low, high = comparison.first, comparison.second
        if high < low:
            low, high, sign = high, low, -sign
        pair = (comparison.prompt_id, comparison.criterion, low, high)
        found.append((pair, comparison.annotator, sign))
    return found


def scores(ratings: Iterable[Rating]) -> list[Label]:
    """Turn ratings into labels 1 to 7 of the item (prompt, criterion, answer)."""
    return [
        ((rating.prompt_id, rating.criterion, rating.answer_id), rating.annotator, rating.score)
        for rating in ratings
    ]


def as_counts(counts: ArrayLike) -> NDArray[np.float64]:
    """Check a table of counts, items x values."""
    table = np.asarray(counts, dtype=np.float64)
    if table.ndim != 2 or (table < 0).any():
        raise ValueError("counts must be a table of items x values without negative numbers")
    return table


def _ordered(values: set[Hashable]) -> list[Hashable]:
    try:
        return sorted(values)  # type: ignore[type-var]
    except TypeError:
        return sorted(values, key=repr)
