"""Decoding in bf16 by compiled layers: the twin is the model itself; a row's bits are its own."""

import ctypes
from typing import Any

import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from heedful.engine.batch import Tree, answer_node, prompt_node
from heedful.engine.compiled import compiled
from heedful.engine.kernels import block, library
from heedful.engine.sample import Request, Sampling, sample
from heedful.engine.score import sequence_columns, use_packed_attention

SIZES = {"vocab_size": 97, "hidden_size": 48, "num_hidden_layers": 2, "intermediate_size": 72}
HEADS = {"num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 16}
SHORT: dict[str, Any] = {
    "llama": hf.LlamaConfig(**SIZES, **HEADS, attention_bias=True),
    "mistral": hf.MistralConfig(**SIZES, **HEADS, sliding_window=4),
    "qwen2": hf.Qwen2Config(**SIZES, num_attention_heads=3, num_key_value_heads=1),
}
OTHERS: dict[str, Any] = {
    "gemma": hf.GemmaConfig(**SIZES, **HEADS),
    "granite": hf.GraniteConfig(
        **SIZES, num_attention_heads=3, num_key_value_heads=1, residual_multiplier=0.5
    ),
    "gpt2": hf.GPT2Config(vocab_size=97, n_embd=48, n_layer=2, n_head=3),
    "qwen3": hf.Qwen3Config(**SIZES, **HEADS),
    "relu": hf.LlamaConfig(**SIZES, **HEADS, hidden_act="relu"),
}
REQUESTS = [Request((3, 4, 5, 6, 7), (1, 2, 3)), Request((8, 9), (4, 5, 6, 7))]


def made(config: Any) -> Any:
    torch.manual_seed(0)
    model = hf.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for p in model.parameters():  # larger than a new model's, so that layers matter
        p.data.mul_(2.0)
    use_packed_attention(model.bfloat16())
    return model


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 100), st.integers(1, 100), st.booleans())
def test_a_product_is_torchs_and_each_row_its_own(rows: int, deep: int, out: int, bias: bool) -> None:
    built = library.built()
    if built is None:
        pytest.skip("no compiler")
    layer = nn.Linear(deep, out, bias=bias).bfloat16()
    layer.weight.data = numbers(out, deep, seed=1)
    x = numbers(rows, deep, seed=2)
    weights = block.packed(built, [layer])
    found = block.linear(built, weights, x)
    exact = nn.functional.linear(
        x.double(), layer.weight.double(), None if layer.bias is None else layer.bias.double()
    )
    allowed = 2**-8 * exact.abs() + 1e-5 * deep
    assert bool(((found.double() - exact).abs() <= allowed).all())
    for row in range(rows):
        assert torch.equal(block.linear(built, weights, x[row : row + 1])[0], found[row])


@pytest.mark.parametrize("name", [*SHORT, *OTHERS])
def test_which_models_go_the_short_way(built: ctypes.CDLL, name: str) -> None:
    model = made((SHORT | OTHERS)[name])
    layers = [m for m in model.modules() if type(m).__name__.endswith(("DecoderLayer", "GPT2Block"))]
    with compiled(model):
        assert len(layers) == 2
        assert all(("forward" in vars(part)) == (name in SHORT) for part in (model, *layers))
    assert not any("forward" in vars(part) for part in (model, *layers))
    model.float()
    with compiled(model):
        assert not any("forward" in vars(part) for part in (model, *layers)), (
            "in fp32 the whole step is compiled"
        )


@pytest.mark.parametrize("name", SHORT)
def test_what_is_sampled_has_the_models_log_probs(
    built: ctypes.CDLL, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = made(SHORT[name])
    found = sample(model, REQUESTS, Sampling(12), stop=[0])
    trees = [
        Tree(prompt_node(request.prompt), tuple(answer_node(s.ids) for s in row))
        for request, row in zip(REQUESTS, found, strict=True)
    ]
    monkeypatch.setattr(library, "_kept", [library.TORCH])
    expected = sequence_columns(made(SHORT[name]).float(), trees, "logp")
    for row, values in zip(found, expected, strict=True):
        for one, logp in zip(row, values, strict=True):
            torch.testing.assert_close(torch.from_numpy(one.logp), logp, rtol=0, atol=0.1)


def test_an_answer_is_the_same_alone_and_in_a_crowd(built: ctypes.CDLL) -> None:
    model, how = made(SHORT["llama"]), Sampling(20)
    together = sample(model, REQUESTS, how, stop=[0])
    for number, request in enumerate(REQUESTS):
        for at, key in enumerate(request.keys):
            alone = sample(model, [Request(request.prompt, (key,))], how, stop=[0])[0][0]
            assert alone.ids.tolist() == together[number][at].ids.tolist()


def test_a_model_of_more_than_layers_keeps_what_surrounds_them(built: ctypes.CDLL) -> None:
    model, how = made(SHORT["llama"]), Sampling(8, temperature=0)
    plain = sample(model, REQUESTS, how, stop=[0])

    class Turned(type(model)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            out = super().forward(*args, **kwargs)
            out.logits = -out.logits
            return out

    model.__class__ = Turned
    with compiled(model):
        assert "forward" not in vars(model)
        assert "forward" in vars(model.model.layers[0])
    turned = sample(model, REQUESTS, how, stop=[0])
    assert plain[0][0].ids.tolist() != turned[0][0].ids.tolist()


def test_weights_that_change_between_calls_are_read_anew(built: ctypes.CDLL) -> None:
    model, how = made(SHORT["llama"]), Sampling(8, temperature=0)
    before = sample(model, REQUESTS, how, stop=[0])
    with torch.no_grad():
        model.lm_head.weight.copy_(model.lm_head.weight.flip(0))
    after = sample(model, REQUESTS, how, stop=[0])
    assert any(
        a.ids.tolist() != b.ids.tolist()
        for r, s in zip(before, after, strict=True)
        for a, b in zip(r, s, strict=True)
    )
