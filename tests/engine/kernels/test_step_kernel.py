"""A decoding step as one compiled call gives the model's logits, and a row's bits depend on that row alone."""

import ctypes
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from heedful.engine.choose import choose
from heedful.engine.kernels import choose as kernel
from heedful.engine.kernels import library
from heedful.engine.sampling import Sampling
from heedful.engine.score import use_packed_attention
from heedful.engine.slots import Slots
from heedful.engine.whole import whole_step

SHAPE = {
    "vocab_size": 101,
    "hidden_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 130,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
KINDS = {
    "llama": LlamaConfig(**SHAPE),
    "tied, odd width": LlamaConfig(**SHAPE, tie_word_embeddings=True, head_dim=20, rms_norm_eps=1e-3),
    "biases": Qwen2Config(**SHAPE),
    "norms of heads": Qwen3Config(**SHAPE, head_dim=32),
}


def model_of(config: Any) -> Any:
    """A model with random weights, those of norms and biases too."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(torch.randn_like(p) * 0.3)
    use_packed_attention(model)
    return model


def written(model: Any, prompts: list[list[int]], steps: int) -> Slots:
    """Answers of random tokens, by the torch path."""
    rows = Slots(model, len(prompts), 1, 16, 40)
    rows.whole = None
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        rows.join(prompts, [[n] for n in range(len(prompts))])
        for step in range(steps):
            if step:
                rows.step()
            rows.put(slice(None), torch.randint(101, (len(prompts),), generator=generator))
    return rows


PROMPTS = [[5 + n, *range(3, 4 + n % 11)] for n in range(70)]


@pytest.mark.parametrize("kind", KINDS)
def test_one_call_gives_the_models_logits(kind: str, built: ctypes.CDLL) -> None:
    model = model_of(KINDS[kind])
    rows = written(model, PROMPTS, 9)
    with torch.no_grad():
        expected = rows.step()
        del rows.whole
        assert rows.whole is not None
        found = rows.step()
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_row_is_bit_by_bit_the_same_alone_and_in_a_crowd(built: ctypes.CDLL) -> None:
    model = model_of(KINDS["llama"])
    rows = written(model, PROMPTS, 9)
    with torch.no_grad():
        step = whole_step(model, rows.cache)
        assert step is not None

        def of(at: torch.Tensor) -> torch.Tensor:
            return step(
                rows.prompt_length, rows.slot[at], rows.sample[at], rows.token[at], rows.written[at] - 1
            )

        together = of(torch.arange(70))
        for part in (torch.tensor([3]), torch.tensor([69, 3]), torch.arange(2, 37), torch.arange(70).flip(0)):
            assert torch.equal(of(part), together[part])
        threads = torch.get_num_threads()
        torch.set_num_threads(3 - min(threads, 2))
        assert torch.equal(of(torch.arange(70)), together)
        torch.set_num_threads(threads)


def test_weights_that_change_are_seen(built: ctypes.CDLL) -> None:
    model = model_of(KINDS["llama"])
    rows = written(model, PROMPTS[:3], 2)
    del rows.whole
    with torch.no_grad():
        before = rows.step()
        model.lm_head.weight.mul_(2)
        model.model.norm.weight.data = model.model.norm.weight.data.clone() * 3
        assert torch.allclose(rows.step(), 6 * before, atol=1e-5)


def test_a_model_that_computes_something_else_is_called_itself(built: ctypes.CDLL) -> None:
    other = model_of(LlamaConfig(**SHAPE, hidden_act="gelu"))
    windowed = model_of(Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=8, max_window_layers=0))
    half = model_of(LlamaConfig(**SHAPE)).to(torch.bfloat16)
    for model in (other, windowed, half):
        assert whole_step(model, written(model, PROMPTS[:2], 1).cache) is None


def test_rows_outside_are_an_error(built: ctypes.CDLL) -> None:
    model = model_of(KINDS["llama"])
    rows = written(model, PROMPTS[:2], 2)
    step = whole_step(model, rows.cache)
    assert step is not None
    good = {"slot": rows.slot, "sample": rows.sample, "token": rows.token, "written": rows.written - 1}
    for name, value in (("slot", 2), ("sample", 1), ("token", 101), ("token", -1), ("written", 40)):
        bad = good | {name: torch.tensor([0, value])}
        with pytest.raises(IndexError, match="lies outside"):
            step(rows.prompt_length, **bad)


HOWS = [
    Sampling(),
    Sampling(temperature=0.0),
    Sampling(temperature=0.6),
    Sampling(top_k=7),
    Sampling(top_p=0.8),
    Sampling(min_p=0.05),
    Sampling(temperature=1.4, top_k=50, top_p=0.9, min_p=0.01),
]


@pytest.mark.parametrize("width", [5, 128, 1000])
def test_one_call_draws_the_tokens_that_torch_draws(
    width: int, built: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(400, width, generator=generator) * 3
    logits[::7, 2] = float("-inf")
    uniforms = torch.rand(400, dtype=torch.float64, generator=generator)
    hows = [HOWS[n % len(HOWS)] for n in range(400)]
    token, logp, behavior = kernel.draw(built, logits, logits, uniforms, hows)
    monkeypatch.setattr(library, "built", lambda: None)
    for n, how in enumerate(HOWS):
        mine = slice(n, None, len(HOWS))
        asked = Sampling(
            temperature=how.temperature, top_k=how.top_k, top_p=how.top_p, min_p=how.min_p, behavior_logp=True
        )
        expected = choose(logits[mine], uniforms[mine], asked)
        assert torch.equal(token[mine], expected.token)
        assert torch.allclose(logp[mine], expected.logp, atol=1e-5)
        assert expected.behavior_logp is not None
        assert torch.allclose(behavior[mine], expected.behavior_logp, atol=1e-5)


def test_logits_without_numbers_draw_a_token_nevertheless(built: ctypes.CDLL) -> None:
    logits = torch.full((len(HOWS), 40), float("nan"))
    token, _, _ = kernel.draw(built, logits, logits, torch.full((len(HOWS),), 0.5, dtype=torch.float64), HOWS)
    assert bool(((token >= 0) & (token < 40)).all())
