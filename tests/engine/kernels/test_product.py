"""Compiled products in bf16 are those of the same numbers in fp64, and layers that go through them are linear."""

import copy
import ctypes

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from heedful.engine.kernels import library, product
from heedful.engine.optim import Optimizer

FEW = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
sizes = st.sampled_from([1, 2, 15, 16, 17, 31, 32, 33, 70, 288, 700])
BF16 = torch.bfloat16


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(BF16)


def near(found: Tensor, exact: Tensor, tolerance: float) -> bool:
    return float((found.double() - exact).detach().norm()) <= tolerance * float(exact.detach().norm())


@FEW
@given(
    seed=st.integers(0, 99),
    m=sizes,
    n=sizes,
    k=st.one_of(sizes, st.sampled_from([1100, 4200])),
    left_lies=st.booleans(),
    right_lies=st.booleans(),
)
def test_products(
    tiles: ctypes.CDLL, seed: int, m: int, n: int, k: int, left_lies: bool, right_lies: bool
) -> None:
    left = normal(seed, k, m).t() if left_lies else normal(seed, m, k)
    right = normal(seed + 1, k, n).t() if right_lies else normal(seed + 1, n, k)
    exact = left.double() @ right.double().t()
    wide = product.times(tiles, left, right, torch.full((m, n), float("nan")))
    assert near(wide, exact, 2e-6)
    assert near(product.times(tiles, left, right, wide.clone(), add=True), 2 * exact, 2e-6)
    room = torch.full((m, n + 3), 7.0, dtype=BF16)
    assert near(product.times(tiles, left, right, room[:, :n]), exact, 2**-8)
    assert (room[:, n:] == 7).all()


@FEW
@given(seed=st.integers(0, 99), rows=st.integers(2, 200), width=sizes, threads=st.integers(1, 3))
def test_a_row_has_the_same_bits_in_any_crowd(
    tiles: ctypes.CDLL, seed: int, rows: int, width: int, threads: int
) -> None:
    x, weight = normal(seed, rows, width), normal(seed + 1, 50, width)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        whole = product.times(tiles, x, weight, x.new_empty(rows, 50))
    finally:
        torch.set_num_threads(before)
    alone = product.times(tiles, x[1:2], weight, x.new_empty(1, 50))
    assert torch.equal(whole[1], alone[0])


@pytest.mark.parametrize("bias", [False, True])
def test_layers(tiles: ctypes.CDLL, bias: bool) -> None:
    """Outputs and gradients are those of fp64 up to rounding; a master's gradient is not rounded at all."""
    torch.manual_seed(0)
    layer = nn.Linear(96, 40, bias=bias).to(BF16)
    expected = copy.deepcopy(layer).double()
    optimizer = Optimizer(layer, learning_rate=0.1)
    product.use_products(layer)
    assert product.is_linear(layer)
    x, along = normal(0, 1, 130, 96), normal(1, 1, 130, 40)
    tried, exact = x.clone().requires_grad_(), x.double().requires_grad_()
    for _ in range(2):  # two micro-batches
        found, wanted = layer(tried), expected(exact)
        assert near(found, wanted, 2**-7)
        found.backward(along)
        wanted.backward(along.double())
        optimizer.collect()
    assert tried.grad is not None
    assert exact.grad is not None
    assert near(tried.grad, exact.grad, 2**-7)
    gradients = [p.grad for p in optimizer.parameters]
    assert all(g is not None and g.dtype == torch.float32 for g in gradients)
    assert gradients[0] is not None
    assert expected.weight.grad is not None
    assert near(gradients[0], expected.weight.grad, 2e-6)


def test_what_is_not_the_kernels_goes_to_torch(tiles: ctypes.CDLL) -> None:
    few, wide = normal(0, 3, 96), normal(0, 130, 96).float()
    weight = normal(1, 40, 96)
    assert torch.equal(product.linear(few, weight), F.linear(few, weight))
    assert torch.equal(product.linear(wide, weight.float()), F.linear(wide, weight.float()))
    many = normal(0, 130, 96)
    with library.paused():
        assert torch.equal(product.linear(many, weight), F.linear(many, weight))
