"""Packing, balancing, shuffling and mixing: every index once, within the budget, in the asked shares."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedful.data.mixing import mix
from heedful.data.packing import balanced, pack, shuffled
from heedful.errors import UserError

lengths_up_to_50 = st.lists(st.integers(1, 50), max_size=60)


@given(lengths=lengths_up_to_50, spare=st.integers(0, 100))
def test_packing_uses_every_index_once_within_the_budget(lengths: list[int], spare: int) -> None:
    budget = max(lengths, default=0) + spare
    bins = pack(lengths, budget)
    assert sorted(index for bin_ in bins for index in bin_) == list(range(len(lengths)))
    assert all(0 < sum(lengths[i] for i in bin_) <= budget for bin_ in bins)


@given(lengths=lengths_up_to_50, spare=st.integers(0, 100))
def test_packing_opens_a_row_only_when_no_other_has_room(lengths: list[int], spare: int) -> None:
    """Then any two rows together overflow, so at most one is half empty."""
    budget = max(lengths, default=0) + spare
    loads = sorted(sum(lengths[i] for i in bin_) for bin_ in pack(lengths, budget))
    assert len(loads) < 2 or loads[0] + loads[1] > budget


def test_packing_takes_the_tightest_row() -> None:
    assert pack([6, 3, 8, 2, 1], 10) == [[2, 3], [0, 1, 4]]
    assert pack([], 10) == []


def test_an_item_beyond_the_budget_is_an_error() -> None:
    with pytest.raises(UserError, match="An item has 11 tokens, but a row holds 10"):
        pack([1, 11], 10)


@given(lengths=lengths_up_to_50, parts=st.integers(1, 8))
def test_balanced_groups_obey_grahams_bound(lengths: list[int], parts: int) -> None:
    groups = balanced(lengths, parts)
    assert len(groups) == parts
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    longest = max(lengths, default=0)
    bound = Fraction(sum(lengths), parts) + longest * (1 - Fraction(1, parts))
    assert max(sum(lengths[i] for i in group) for group in groups) <= bound


def test_balanced_golden() -> None:
    assert balanced([7, 7, 6, 6, 5, 5, 4, 4, 4], 4) == [[0, 6, 8], [1, 7], [2, 4], [3, 5]]


@given(n=st.integers(0, 300), seed=st.integers(-5, 2**64), epoch=st.integers(0, 5))
def test_a_shuffle_is_a_permutation(n: int, seed: int, epoch: int) -> None:
    assert sorted(shuffled(n, seed, epoch).tolist()) == list(range(n))


def test_shuffles_are_the_same_everywhere_and_differ_by_seed_and_epoch() -> None:
    assert shuffled(10, 0, 0).tolist() == [6, 3, 4, 8, 2, 5, 9, 1, 0, 7]
    orders = {tuple(shuffled(50, seed, epoch).tolist()) for seed in range(10) for epoch in range(10)}
    assert len(orders) == 100


weights_and_sizes = st.lists(
    st.tuples(st.integers(1, 9), st.floats(0.01, 100) | st.integers(1, 5)), min_size=1, max_size=6
)


@given(sources=weights_and_sizes, seed=st.integers(0, 3))
def test_every_beginning_of_a_mix_has_the_asked_shares(sources: list[tuple[int, float]], seed: int) -> None:
    sizes, weights = zip(*sources, strict=True)
    stream = mix(sizes, weights, 200, seed)
    count: Counter[int] = Counter()
    for t, (source, _) in enumerate(stream, 1):
        count[source] += 1
        for s, weight in enumerate(weights):
            assert abs(count[s] - t * weight / sum(weights)) < 1 + 1e-9


@given(sources=weights_and_sizes, seed=st.integers(0, 3))
def test_a_mix_uses_all_of_a_source_before_it_repeats(sources: list[tuple[int, float]], seed: int) -> None:
    sizes, weights = zip(*sources, strict=True)
    stream = mix(sizes, weights, 100, seed)
    for s, size in enumerate(sizes):
        indices = [index for source, index in stream if source == s]
        for start in range(0, len(indices) - size + 1, size):
            assert sorted(indices[start : start + size]) == list(range(size))


def test_a_mix_is_a_beginning_of_the_longer_one_and_depends_on_the_seed() -> None:
    long = mix([30, 40], [1, 3], 240, 7)
    assert mix([30, 40], [1, 3], 50, 7) == long[:50]
    assert mix([30, 40], [1, 3], 240, 8) != long
    first_source = [index for source, index in long if source == 0]
    assert first_source[:30] != first_source[30:]


def test_a_source_of_weight_zero_gives_nothing_and_may_be_empty() -> None:
    assert {source for source, _ in mix([3, 0], [0.5, 0], 10, 0)} == {0}


@pytest.mark.parametrize(
    ("sizes", "weights", "message"),
    [
        ([1, 2], [1.0], "2 data sources but 1 weights"),
        ([1, 2], [1.0, -1.0], "must be 0 or positive"),
        ([1], [float("nan")], "must be 0 or positive"),
        ([1, 2], [0.0, 0.0], "not all 0"),
        ([1, 0], [1.0, 1.0], "Data source 2 is empty"),
    ],
)
def test_senseless_mixes_are_refused(sizes: list[int], weights: list[float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        mix(sizes, weights, 5, 0)
