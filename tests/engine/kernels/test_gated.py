"""A gated MLP as one node gives what its layers give one by one: outputs and gradients are those of fp64."""

import copy
import ctypes

import pytest
import torch
import transformers as hf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from heedful.engine.kernels import fused, gated
from heedful.engine.kernels.patch import use_fused

FEW = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
sizes = st.sampled_from([2, 16, 31, 32, 48, 70, 288, 600])
BF16 = torch.bfloat16


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(BF16)


def near(found: Tensor | None, exact: Tensor | None) -> bool:
    assert found is not None
    assert exact is not None
    return float((found.double() - exact).detach().norm()) <= 2**-6 * float(exact.detach().norm())


@FEW
@given(seed=st.integers(0, 99), rows=st.integers(1, 150), deep=sizes, width=sizes)
def test_outputs_and_gradients(tiles: ctypes.CDLL, seed: int, rows: int, deep: int, width: int) -> None:
    shapes = (rows, deep), (width, deep), (width, deep), (deep, width)
    inputs = [normal(seed + n, *shape) / shape[-1] ** 0.5 for n, shape in enumerate(shapes)]
    inputs[0] = inputs[0] * deep**0.5
    tried = [x.clone().requires_grad_() for x in inputs]
    exact = [x.double().requires_grad_() for x in inputs]
    found = gated.mlp(tiles, *tried)
    x, gate, up, down = exact
    expected = fused.swiglu_twin(x @ gate.t(), x @ up.t()) @ down.t()
    along = normal(seed + 9, rows, deep)
    torch.autograd.backward(found, along)
    torch.autograd.backward(expected, along.double())
    assert near(found, expected)
    assert all(near(a.grad, b.grad) for a, b in zip(tried, exact, strict=True))


def test_numbers_that_are_not_finite_stay_so(tiles: ctypes.CDLL) -> None:
    gate = torch.tensor([[float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 100.0, -100.0, 0.0]])
    made = torch.cat([gate, torch.ones_like(gate)], -1).to(BF16)
    found = torch.empty(1, 8, dtype=BF16)
    gated._call(tiles, "forward", made, found, 1, 8)
    assert found[0, 0].isnan()
    assert found[0, [1, 3, 5, 7]].tolist() == made[0, [1, 3, 5, 7]].tolist()
    assert found[0, [4, 6]].abs().max() < 1e-5


@pytest.mark.parametrize("frozen", [(), ("gate_proj",), ("gate_proj", "up_proj"), ("down_proj",)])
def test_layers_that_are_frozen_get_no_gradient(tiles: ctypes.CDLL, frozen: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2, "num_hidden_layers": 1}
    part = hf.LlamaForCausalLM(hf.LlamaConfig(vocab_size=32, **sizes)).model.layers[0].mlp.to(BF16)
    for name in frozen:
        getattr(part, name).weight.requires_grad_(False)
    exact = copy.deepcopy(part).double()
    use_fused(part)
    x, along = normal(1, 1, 100, 64), normal(2, 1, 100, 64)
    part(x).backward(along)
    exact(x.double()).backward(along.double())
    for (name, one), other in zip(part.named_parameters(), exact.parameters(), strict=True):
        if name.split(".")[0] in frozen:
            assert one.grad is None
        else:
            assert near(one.grad, other.grad)
    few = normal(3, 1, 5, 64)
    assert torch.equal(part(few), part.down_proj(fused.swiglu(tiles, part.gate_proj(few), part.up_proj(few))))
