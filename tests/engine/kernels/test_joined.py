"""Products joined while sampling are the layers' own, and nothing of it is left behind."""

import ctypes
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import tiny
from heedful.engine import joined as module
from heedful.engine.batch import collate
from heedful.engine.joined import joined
from heedful.engine.score import token_columns, use_packed_attention


def products(monkeypatch: pytest.MonkeyPatch, model: torch.nn.Module) -> tuple[torch.Tensor, int]:
    calls = 0
    linear = F.linear

    def counted(*args: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return linear(*args)

    monkeypatch.setattr(F, "linear", counted)
    with torch.no_grad():
        logp = token_columns(model, collate(tiny.trees()), entropy=False)["logp"]
    monkeypatch.setattr(F, "linear", linear)
    return logp, calls


@pytest.mark.parametrize("name", tiny.configs())
def test_the_same_numbers_by_fewer_products(
    built: ctypes.CDLL, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.model(tiny.configs()[name])
    use_packed_attention(model)
    products(monkeypatch, model)  # tries the head once
    expected, all_of_them = products(monkeypatch, model)
    with joined(model):
        found, fewer = products(monkeypatch, model)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    own, after = products(monkeypatch, model)
    assert torch.equal(own, expected)
    assert after == all_of_them
    saved = {"gpt2": 0, "gpt_neox": 0, "phi3": 0, "gpt_oss": 4, "gptj": 4, "stablelm": 6, "gemma2": 6}.get(
        name, 6
    )
    assert all_of_them - fewer == saved


def test_weights_that_change_between_two_calls_are_seen(built: ctypes.CDLL) -> None:
    model = tiny.llama()
    use_packed_attention(model)
    layer = model.model.layers[0].self_attn
    x = torch.randn(1, 3, 32)
    for _ in range(2):
        with torch.no_grad(), joined(model):
            torch.testing.assert_close(layer.q_proj(x), x @ layer.q_proj.weight.t())
            torch.testing.assert_close(layer.k_proj(x), x @ layer.k_proj.weight.t())
            other = x + 1
            torch.testing.assert_close(layer.v_proj(other), other @ layer.v_proj.weight.t())
        with torch.no_grad():
            layer.q_proj.weight.mul_(2)


def test_large_layers_and_runs_without_kernels_are_left_alone(
    built: ctypes.CDLL, no_kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.llama()
    with joined(model):
        assert "forward" in vars(model.model.layers[0].self_attn.q_proj)
    monkeypatch.setattr(module, "LARGEST", 2000)
    with joined(model):
        assert "forward" not in vars(model.model.layers[0].self_attn.q_proj)
    monkeypatch.setattr(module.library, "_kept", [module.library.TORCH])
    monkeypatch.setattr(module, "LARGEST", 2**22)
    with joined(model):
        assert "forward" not in vars(model.model.layers[0].self_attn.q_proj)
