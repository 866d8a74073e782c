"""Law 1 on every architecture, for steps in parts and with LoRA adapters (peft): the same numbers (fp32)."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny
from heedful.engine.batch import Tree, collate
from heedful.engine.recompute import recompute_layers
from heedful.engine.score import columns, use_packed_attention

CONFIGS = {**tiny.configs(), **tiny.padded_configs()}


def alone(model: Any, tree: Tree) -> list[Tensor]:
    """Log-probs of each branch by the model's own eager attention, one sequence at a time."""
    found = []
    for branch in tree.branches:
        ids = torch.from_numpy(np.concatenate([tree.prompt.ids, branch.ids]))
        logp = model(ids[None], use_cache=False).logits[0].float().log_softmax(-1)
        start = len(tree.prompt.ids)
        found.append(logp[start - 1 : -1].gather(-1, ids[start:, None])[:, 0])
    return found


def gradient(model: Any) -> Tensor:
    """The gradient of what is trained, taken away."""
    parts = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return torch.cat(parts)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_in_parts_is_the_step(name: str) -> None:
    model, trees = tiny.model(CONFIGS[name]), tiny.trees()
    use_packed_attention(model)
    columns(model, collate(trees), ["logp"])["logp"].square().sum().backward()
    expected = gradient(model)
    for tree in trees:
        columns(model, collate([tree]), ["logp"])["logp"].square().sum().backward()
    found = gradient(model)
    assert (found - expected).norm() / expected.norm() < 1e-5


@pytest.mark.parametrize("name", CONFIGS)
def test_adapters_get_the_gradient_of_each_sequence_alone(name: str) -> None:
    peft = pytest.importorskip("peft", reason="adapters need peft")
    model, trees = tiny.model(CONFIGS[name]), tiny.trees()
    plan = peft.LoraConfig(
        r=3,
        target_modules=adapted(model),
        lora_dropout=0.0,
        init_lora_weights=False,
        fan_in_fan_out=name == "gpt2",
    )
    torch.manual_seed(1)
    model = peft.inject_adapter_in_model(plan, model).eval()
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in n for n in trained)
    reference = torch.cat([logp for tree in trees for logp in alone(model, tree)])
    weight = torch.randn(len(reference), generator=torch.Generator().manual_seed(1))
    (reference * weight).sum().backward()
    expected = gradient(model)
    use_packed_attention(model)

    def assert_the_same() -> None:
        logp = columns(model, collate(trees), ["logp"])["logp"]
        torch.testing.assert_close(logp, reference, atol=2e-5, rtol=1e-5)
        (logp * weight).sum().backward()
        found = gradient(model)
        assert (found - expected).norm() / expected.norm() < 1e-5

    assert_the_same()
    recompute_layers(model)
    assert_the_same()


def adapted(model: Any) -> list[str]:
    """The last names of the linear layers within a model's blocks; experts and their router stay as they are."""
    blocks = next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList))
    kinds = (torch.nn.Linear, *(type(m) for m in blocks.modules() if type(m).__name__ == "Conv1D"))
    return sorted({n.rpartition(".")[2] for n, m in blocks.named_modules() if isinstance(m, kinds)})
