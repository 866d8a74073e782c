"""Several sources in one stream, each in the share that its weight asks for."""

import math
from collections.abc import Sequence

from heedful.data.packing import shuffled
from heedful.errors import UserError


def mix(sizes: Sequence[int], weights: Sequence[float], n: int, seed: int) -> list[tuple[int, int]]:
    """The first `n` (source, index) of a stream over sources of these sizes.

    Of its first t items, source s gives less than one item more or less than t * weight(s) / sum(weights).
    Each source is gone through in a fresh order every time round, so no index repeats before all were used.
    """
    _check(sizes, weights)
    total = math.fsum(weights)
    shares = [weight / total for weight in weights]
    given = [0] * len(sizes)
    orders: dict[int, list[int]] = {}
    stream: list[tuple[int, int]] = []
    for t in range(1, n + 1):
        # The earliest deadline among the sources that are due, which keeps every lag below one item
        # (Tijdeman 1980, The chairman assignment problem).
        source = min(
            (s for s, share in enumerate(shares) if given[s] < t * share),
            key=lambda s: (given[s] + 1) / shares[s],
        )
        round_, place = divmod(given[source], sizes[source])
        if place == 0:
            orders[source] = shuffled(sizes[source], seed, round_ * len(sizes) + source).tolist()
        stream.append((source, orders[source][place]))
        given[source] += 1
    return stream


def _check(sizes: Sequence[int], weights: Sequence[float]) -> None:
    if len(sizes) != len(weights):
        raise UserError(
            f"There are {len(sizes)} data sources but {len(weights)} weights; give one weight each."
        )
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise UserError(f"The weights {list(weights)} must be 0 or positive numbers, and not all 0.")
    for number, (size, weight) in enumerate(zip(sizes, weights, strict=True), 1):
        if weight and not size:
            raise UserError(f"Data source {number} is empty but has the weight {weight:g}; give it weight 0.")
