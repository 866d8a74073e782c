"""Law 1 with gradient checkpointing: layers computed twice give the same losses and gradients (fp32)."""

from typing import Any

import pytest
import torch
from torch import Tensor

import tiny
from heedful.engine.batch import collate
from heedful.engine.recompute import recompute_layers
from heedful.engine.score import columns, use_packed_attention

CONFIGS = {**tiny.configs(), **tiny.padded_configs()}


def step(model: Any, seed: int = 0) -> tuple[Tensor, Tensor]:
    logp = columns(model, collate(tiny.trees(seed)), ["logp"])["logp"]
    logp.sum().backward()
    return logp.detach(), gradient(model)


def gradient(model: Any) -> Tensor:
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return found


@pytest.mark.parametrize("name", CONFIGS)
def test_gradient_checkpointing_changes_nothing(name: str) -> None:
    model = tiny.model(CONFIGS[name])
    use_packed_attention(model)
    model.train()
    expected, expected_gradient = step(model)
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    layer = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))[0]
    part = next(m for m in layer.modules() if isinstance(m, torch.nn.Linear) or "Conv1D" in type(m).__name__)
    part.register_forward_hook(count)
    recompute_layers(model)
    logp, gradient = step(model)
    assert calls == 2, "the layer was not computed twice, so nothing was checkpointed"
    torch.testing.assert_close(logp, expected, atol=1e-6, rtol=1e-6)
    assert (gradient - expected_gradient).norm() <= 1e-6 * expected_gradient.norm()


def test_rows_that_an_architecture_drops_are_there_again_in_the_backward() -> None:
    """StableLM does not hand keyword arguments to its attention: without the rows the backward would fail."""
    model = tiny.model(CONFIGS["stablelm"])
    use_packed_attention(model)
    model.train()
    recompute_layers(model)
    logps = [columns(model, collate(tiny.trees(seed)), ["logp"])["logp"] for seed in (0, 1)]
    torch.stack([logp.sum() for logp in logps]).sum().backward()
    together = gradient(model)
    model.eval()  # remembers everything
    expected = step(model, 0)[1] + step(model, 1)[1]
    assert (together - expected).norm() <= 1e-6 * expected.norm()
