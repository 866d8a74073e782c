"""The compiled AdamW is torch's: weights, moments and the copies of masters, clipped or not."""

import ctypes
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from heedful.engine.kernels import library
from heedful.engine.kernels.adamw import AdamW
from heedful.engine.optim import Optimizer

FEW = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
GIVEN: dict[str, Any] = {"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@FEW
@given(
    seed=st.integers(0, 99),
    n=st.sampled_from([1, 7, 16, 100, 4097, 40000]),
    factor=st.sampled_from([1.0, 0.25]),
)
def test_it_is_torchs(built: ctypes.CDLL, seed: int, n: int, factor: float) -> None:
    one, other = nn.Parameter(normal(seed, n)), nn.Parameter(normal(seed, n))
    copy = nn.Parameter(one.detach().bfloat16())
    ours, theirs = AdamW([one], {one: copy}, **GIVEN), torch.optim.AdamW([other], **GIVEN)
    for step in range(4):
        gradient = normal(seed + step, n)
        one.grad, other.grad, ours.factor = gradient.clone(), gradient * factor, factor
        ours.step()
        theirs.step()
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
        assert torch.equal(copy, one.bfloat16())
        assert torch.equal(one.grad, gradient)
    kept, expected = ours.state[one], theirs.state[other]
    assert kept.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(kept[name], value, rtol=1e-5, atol=1e-7)


def test_any_number_of_threads_gives_the_same_bits(built: ctypes.CDLL) -> None:
    found, before = [], torch.get_num_threads()
    for threads in (1, 3):
        weight = nn.Parameter(normal(0, 50000))
        torch.set_num_threads(threads)
        try:
            weight.grad = normal(1, 50000)
            AdamW([weight], {}, **GIVEN).step()
        finally:
            torch.set_num_threads(before)
        found.append(weight.detach())
    assert torch.equal(*found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["adamw", "adamw_8bit", "muon"])
@pytest.mark.parametrize("most", [0.5, 1e9])
def test_clipping_is_torchs(built: ctypes.CDLL, name: str, dtype: torch.dtype, most: float) -> None:
    """With and without the kernel, of every optimiser."""

    def stepped() -> list[Tensor]:
        torch.manual_seed(0)
        model = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(96, 80)]), "head": nn.Linear(80, 7)})
        inside = nn.ModuleDict({"model": model}).to(dtype)
        optimizer = Optimizer(inside, name=name, learning_rate=0.1, matrix_learning_rate=0.1)  # type: ignore[arg-type]
        for seed in range(2):
            for n, parameter in enumerate(optimizer.parameters):
                parameter.grad = normal(seed + n, *parameter.shape)
            exact = sum(
                float(p.grad.double().square().sum()) for p in optimizer.parameters if p.grad is not None
            )
            assert optimizer.clip(most) == pytest.approx(exact**0.5, rel=1e-5)
            optimizer.step()
            assert all(p.grad is None for p in optimizer.parameters)
        return [p.detach().float() for p in inside.parameters()]

    found = stepped()
    with library.paused():
        expected = stepped()
    near = 2e-3 if name == "muon" else 1e-5  # Muon's iteration is in bf16, whatever the weights are in
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2**-8 if dtype == torch.bfloat16 else 1e-5, atol=near)
