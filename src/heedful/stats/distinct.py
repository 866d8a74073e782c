"""Whether answers belong to their prompts: how little an answer shares with those to other prompts."""

from collections.abc import Sequence

OTHERS = 32


def distinct(answers: Sequence[Sequence[int]], groups: Sequence[str], n: int = 2) -> list[float]:
    """For each answer 1 less the mean overlap with answers to other prompts of its group: 0 for one that fits them all.

    `answers` are token ids, the overlap of two is the Jaccard index of their n-grams. Each is held against up to 32
    others, evenly spread over the group; NaN where the group has no other.
    """
    grams = [_grams(a, n) for a in answers]
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    found = [float("nan")] * len(answers)
    for rows in members.values():
        for place, i in enumerate(rows):
            count = min(OTHERS, len(rows) - 1)
            steps = [1 + turn * (len(rows) - 1) // count for turn in range(count)]
            shared = [_overlap(grams[i], grams[rows[(place + step) % len(rows)]]) for step in steps]
            if shared:
                found[i] = 1 - sum(shared) / len(shared)
    return found


def _grams(ids: Sequence[int], n: int) -> frozenset[tuple[int, ...]]:
    return frozenset(tuple(ids[i : i + n]) for i in range(max(1, len(ids) - n + 1)))


def _overlap(one: frozenset[tuple[int, ...]], other: frozenset[tuple[int, ...]]) -> float:
    return len(one & other) / len(one | other)
