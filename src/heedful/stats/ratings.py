"""Ratings on one scale: every annotator has marks of their own that they give, and their own spread of them."""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def standardised(rating: ArrayLike, annotator: Sequence[Hashable]) -> NDArray[np.float64]:
    """(rating - mean) / deviation within each annotator (population deviation).

    Who gives one mark to all says nothing: zeros. The whole then has mean 0, whoever rated what; so people who
    rated better answers than others did lose that difference, unless answers were handed out at random.
    """
    values = np.asarray(rating, dtype=np.float64)
    if values.shape != (len(annotator),):
        raise ValueError(f"{values.shape} ratings by {len(annotator)} annotators")
    number = {name: i for i, name in enumerate(dict.fromkeys(annotator))}
    who = np.asarray([number[name] for name in annotator], dtype=np.intp)
    n = np.bincount(who, minlength=len(number))
    apart = values - (np.bincount(who, values) / n)[who]
    deviation = np.sqrt(np.bincount(who, apart**2) / n)[who]
    return np.divide(apart, deviation, out=np.zeros_like(apart), where=deviation > 1e-9)
