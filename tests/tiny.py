"""Tiny random models of many architectures, and random trees, for the laws."""

from typing import Any

import numpy as np
import torch
import transformers as hf

from heedful.engine.batch import Pair, Tree, answer_node, prompt_node
from heedful.nn.hub import without_dropout

VOCAB = 97
_COMMON: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GPT: dict[str, Any] = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
_FULL = {**_COMMON, "num_key_value_heads": 4}


def configs() -> dict[str, Any]:
    """One small configuration an architecture; windows shorter than the sequences where there are windows."""
    return {
        "llama": hf.LlamaConfig(**_COMMON),
        "mistral": hf.MistralConfig(**_COMMON, sliding_window=5),
        "qwen2": hf.Qwen2Config(**_COMMON),
        "qwen3": hf.Qwen3Config(**_COMMON, head_dim=8),
        "gemma2": hf.Gemma2Config(
            **_COMMON,
            head_dim=8,
            sliding_window=5,
            attn_logit_softcapping=3.0,
            final_logit_softcapping=5.0,
            query_pre_attn_scalar=8,
        ),
        "phi3": hf.Phi3Config(**_COMMON),
        "olmo2": hf.Olmo2Config(**_COMMON),
        "gpt2": hf.GPT2Config(**_GPT),
        "gptj": hf.GPTJConfig(**_GPT, rotary_dim=4),
        "gpt_neox": hf.GPTNeoXConfig(**{k: v for k, v in _FULL.items() if k != "num_key_value_heads"}),
        "smollm3": hf.SmolLM3Config(**_COMMON),
        "granite": hf.GraniteConfig(**_COMMON),
        "stablelm": hf.StableLmConfig(**_COMMON),
        "gpt_oss": hf.GptOssConfig(
            **_COMMON, head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=5
        ),
    }


def padded_configs() -> dict[str, Any]:
    """Architectures that accept the attention setting without obeying it, or refuse it."""
    falcon: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    return {
        "bloom": hf.BloomConfig(vocab_size=VOCAB, hidden_size=32, n_layer=2, n_head=4),
        "falcon": hf.FalconConfig(vocab_size=VOCAB, **falcon),
        "falcon_alibi": hf.FalconConfig(vocab_size=VOCAB, alibi=True, **falcon),
        "gpt_neo": hf.GPTNeoConfig(
            vocab_size=VOCAB,
            hidden_size=32,
            num_layers=2,
            num_heads=4,
            intermediate_size=48,
            max_position_embeddings=128,
            attention_types=[[["global", "local"], 1]],
            window_size=5,
        ),
        "xglm": hf.XGLMConfig(
            vocab_size=VOCAB,
            d_model=32,
            ffn_dim=48,
            num_layers=2,
            attention_heads=4,
            max_position_embeddings=128,
        ),
        "mpt": hf.MptConfig(vocab_size=VOCAB, d_model=32, n_heads=4, n_layers=2, max_seq_len=128),
    }


def model(config: Any, *, scorer: bool = False, attention: str = "eager", seed: int = 0) -> Any:
    """A model with weights large enough that every part of it shows in the logits."""
    torch.manual_seed(seed)
    kind = hf.AutoModelForSequenceClassification if scorer else hf.AutoModelForCausalLM
    if scorer:
        config.num_labels = 1
    made = kind.from_config(config, attn_implementation=attention, dtype=torch.float32)
    for parameter in made.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return without_dropout(made).eval()


def llama(**kwargs: Any) -> Any:
    """A tiny Llama model."""
    return model(configs()["llama"], **kwargs)


SHAPES = ((7, (3, 9)), (2, (1,)), (12, (4, 4, 6)))


def trees(seed: int = 0, shapes: tuple[tuple[int, tuple[int, ...]], ...] = SHAPES) -> list[Tree]:
    """Random prompts with branches; all pairs of neighbouring branches."""
    rng = np.random.default_rng(seed)

    def ids(n: int) -> Any:
        return rng.integers(3, VOCAB, n)

    return [
        Tree(
            prompt_node(ids(prompt)),
            tuple(answer_node(ids(n), advantage=rng.normal(size=n).astype(np.float32)) for n in branches),
            tuple(Pair(i, i + 1, 0.5) for i in range(len(branches) - 1)),
        )
        for prompt, branches in shapes
    ]


def greedy_by_transformers(model: Any, prompts: list[list[int]], tokens: int) -> list[list[int]]:
    """What `generate` appends to each prompt, one at a time."""
    found = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        out = model.generate(ids, do_sample=False, max_new_tokens=tokens, eos_token_id=2, pad_token_id=0)
        found.append(out[0, len(prompt) :].tolist())
    return found
