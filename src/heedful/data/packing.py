"""Plans over lengths: which items share a row, in which order they come, who gets how much."""

import hashlib
import heapq
from bisect import bisect_left, insort
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heedful.errors import UserError


def pack(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in bins of at most `budget` in total: best fit of the longest first, O(n log n).

    Every index is in exactly one bin; the plan depends on the lengths and their order alone.
    """
    bins: list[list[int]] = []
    with_room: dict[int, list[int]] = {}  # room left -> bins
    rooms: list[int] = []  # the keys of with_room, sorted
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[index]
        if length > budget:
            raise UserError(f"An item has {length} tokens, but a row holds {budget}; raise the token budget.")
        place = bisect_left(rooms, length)
        if place < len(rooms):
            room = rooms[place]
            chosen = with_room[room].pop()
            if not with_room[room]:
                del with_room[room], rooms[place]
        else:
            room, chosen = budget, len(bins)
            bins.append([])
        bins[chosen].append(index)
        if room - length not in with_room:
            with_room[room - length] = []
            insort(rooms, room - length)
        with_room[room - length].append(chosen)
    return bins


def balanced(lengths: Sequence[int], parts: int) -> list[list[int]]:
    """Indices in `parts` groups of about equal total: the longest first, each to the least loaded (LPT).

    The largest total is at most 4/3 - 1/(3 parts) of the best possible one (Graham 1969, theorem 2).
    """
    groups: list[list[int]] = [[] for _ in range(parts)]
    loads = [(0, group) for group in range(parts)]
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        load, group = heapq.heappop(loads)
        groups[group].append(index)
        heapq.heappush(loads, (load + lengths[index], group))
    return groups


def shuffled(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """A permutation [n] that depends on (n, seed, epoch) alone, on any machine and numpy version.

    It sorts Philox's raw numbers, which numpy keeps stable; the methods of its Generator may change.
    """
    key = hashlib.blake2b(f"shuffle {seed} {epoch}".encode(), digest_size=16).digest()
    words = np.frombuffer(key, dtype="<u8").astype(np.uint64)
    return np.argsort(np.random.Philox(key=words).random_raw(n), kind="stable").astype(np.int64)
