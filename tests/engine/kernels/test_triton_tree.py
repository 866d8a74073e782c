"""Triton's attention over packed trees is masked attention, forward and backward, in Triton's interpreter.

In fp32 alone: the interpreter cannot multiply matrices of bf16.
"""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from heedful.engine.attention import Variant, masked_attention
from heedful.engine.layout import Layout

shapes = st.lists(
    st.tuples(st.integers(1, 25), st.lists(st.integers(1, 12), max_size=3)), min_size=1, max_size=4
)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(
    seed=st.integers(0, 99),
    shape=shapes,
    kv_heads=st.integers(1, 2),
    repeat=st.integers(1, 3),
    width=st.sampled_from([4, 16, 20, 32]),
    window=st.none() | st.integers(1, 30),
    softcap=st.none() | st.floats(1.0, 30.0),
    sinks=st.booleans(),
)
def test_it_is_masked_attention(
    triton_rows: Any,
    seed: int,
    shape: list[tuple[int, list[int]]],
    kv_heads: int,
    repeat: int,
    width: int,
    window: int | None,
    softcap: float | None,
    sinks: bool,
) -> None:
    from heedful.engine.kernels.gpu import tree

    layout, generator = Layout(shape), torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    heads = kv_heads * repeat
    q, k = normal(1, layout.total, heads, width).transpose(1, 2), normal(1, kv_heads, layout.total, width)
    inputs = [q, k, normal(1, layout.total, kv_heads, width).transpose(1, 2), normal(heads)]
    tried = [x.clone().requires_grad_() for x in inputs]
    exact = [x.double().requires_grad_() for x in inputs]

    def variant(of: Tensor) -> Variant:
        return Variant(width**-0.5, window, softcap, of if sinks else None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree, "_side", lambda q: 16)  # many blocks
        found = tree.tree_attention(*tried[:3], tree.spans(layout), variant(tried[3]))
        along = normal(*found.shape)
        found.backward(along)
    expected = masked_attention(*exact[:3], layout.mask(window), variant(exact[3])).transpose(1, 2)
    expected.backward(along.double())
    pairs = [(found, expected), *((x.grad, y.grad) for x, y in zip(tried, exact, strict=True))]
    for one, other in pairs[: None if sinks else -1]:
        assert one is not None
        assert other is not None
        scale = float(other.detach().norm()) or 1.0
        assert float((one.double() - other).detach().norm()) / scale < 3e-6
