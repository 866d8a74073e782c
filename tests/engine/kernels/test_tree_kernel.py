"""Compiled attention over packed rows is attention under a mask, forward and backward, on random layouts."""

import ctypes

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from heedful.engine.attention import MaskedRows, TreeRows, Variant
from heedful.engine.kernels import tree
from heedful.engine.layout import Layout

FEW = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
lengths = st.sampled_from([1, 2, 16, 31, 32, 33, 65, 100])
shapes = st.lists(st.tuples(lengths, st.lists(lengths, max_size=3)), min_size=1, max_size=3)
SCALE = 0.2


@pytest.fixture
def tiles(built: ctypes.CDLL) -> ctypes.CDLL:
    if not built.heedful_tiles():
        pytest.skip("this processor has no matrix tiles")
    return built


def numbers(layout: Layout, heads: int, kv_heads: int, width: int, seed: int) -> list[Tensor]:
    """q, k, v and what the output is multiplied by, rows first in memory."""
    g = torch.Generator().manual_seed(seed)
    found = [torch.randn(1, layout.total, h, width, generator=g) for h in (heads, kv_heads, kv_heads, heads)]
    return [x.to(torch.bfloat16).transpose(1, 2) for x in found]


def outcome(rows: TreeRows, given: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The output and the gradients of q, k and v."""
    inputs = [x.detach().to(dtype).requires_grad_() for x in given[:3]]
    out = rows.attend(0, *inputs, Variant(SCALE))
    out.backward(given[3].to(dtype).transpose(1, 2))
    gradients = [x.grad for x in inputs if x.grad is not None]
    assert len(gradients) == 3
    return [out.detach(), *gradients]


@FEW
@given(
    shapes=shapes,
    kv_heads=st.integers(1, 2),
    repeat=st.integers(1, 3),
    width=st.sampled_from([2, 8, 33, 48, 64, 128]),
    seed=st.integers(0, 99),
)
def test_equals_a_mask(
    tiles: ctypes.CDLL,
    shapes: list[tuple[int, list[int]]],
    kv_heads: int,
    repeat: int,
    width: int,
    seed: int,
) -> None:
    layout = Layout(shapes)
    given = numbers(layout, kv_heads * repeat, kv_heads, width, seed)
    assert tree.kernel_for(*given[:3], layout) is tiles
    found = outcome(TreeRows(layout), given, torch.bfloat16)
    # fp32: masked attention computes its softmax in that
    expected = outcome(MaskedRows(layout), given, torch.float32)
    scale = max(float(x.norm()) for x in expected[1:])
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.bfloat16
        gap = float((one.float() - other).norm())
        assert gap <= 3 * 2**-8 * max(float(other.norm()), 0.1 * scale)


@FEW
@given(first=lengths, shapes=shapes, threads=st.integers(1, 3))
def test_a_group_has_the_same_bits_in_any_crowd(
    tiles: ctypes.CDLL, first: int, shapes: list[tuple[int, list[int]]], threads: int
) -> None:
    layout, alone = Layout([(first, ()), *shapes]), Layout(shapes)
    given = numbers(layout, 4, 2, 16, 0)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        whole = outcome(TreeRows(layout), given, torch.bfloat16)
    finally:
        torch.set_num_threads(before)
    part = outcome(TreeRows(alone), [x[:, :, first:] for x in given], torch.bfloat16)
    assert torch.equal(whole[0][:, first:], part[0])
    for one, other in zip(whole[1:], part[1:], strict=True):
        assert torch.equal(one[:, :, first:], other)
