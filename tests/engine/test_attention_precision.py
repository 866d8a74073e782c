"""The gradient of packed attention in bf16 is the fp32 one up to rounding, whichever segments are computed in which."""

import pytest
import torch
from torch import Tensor

from heedful.engine import attention
from heedful.engine.attention import TreeRows, Variant
from heedful.engine.layout import Layout

LAYOUT = Layout([(30, (5, 70, 9)), (80, ())])


def gradients(dtype: torch.dtype) -> list[Tensor]:
    g = torch.Generator().manual_seed(0)
    q, k, v, along = (torch.randn(1, heads, LAYOUT.total, 16, generator=g) for heads in (4, 2, 2, 4))
    inputs = [x.to(torch.bfloat16).to(dtype).requires_grad_() for x in (q, k, v)]
    out = TreeRows(LAYOUT).attend(0, *inputs, Variant(0.25))
    out.backward(along.to(torch.bfloat16).to(dtype).transpose(1, 2))
    return [x.grad.float() for x in inputs if x.grad is not None]


@pytest.mark.parametrize("pays_from", [None, 0, 1000, 2**15])
def test_bf16_gradients(monkeypatch: pytest.MonkeyPatch, pays_from: int | None) -> None:
    expected = gradients(torch.float32)
    monkeypatch.setattr(attention, "_BF16_PAYS_FROM", pays_from)
    monkeypatch.setattr(attention.tree, "kernel_for", lambda *args: None)
    for one, other in zip(gradients(torch.bfloat16), expected, strict=True):
        assert float((one - other).norm() / other.norm()) < 1e-2
