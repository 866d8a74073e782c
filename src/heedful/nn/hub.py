"""Weights in and out, in the Hugging Face layout: safetensors only, no pickle, no remote code."""

import copy
import os
from pathlib import Path
from typing import Any, NotRequired, TypedDict, Unpack

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from heedful.errors import UserError
from heedful.nn import adapters
from heedful.nn.likelihood_scorer import HEAD_FILE, LikelihoodScorer

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


def device() -> torch.device:
    """Where models are put: HEEDFUL_DEVICE, or else the CPU, the one place where the whole loop has been run."""
    return torch.device(os.environ.get("HEEDFUL_DEVICE", "cpu"))


def _load(kind: Any, source: str | Path, *, needs: str = "config.json", **kwargs: Any) -> Any:
    path = Path(source)
    looks_local = path.is_absolute() or str(source).startswith(".") or str(source).count("/") != 1
    if looks_local and not path.is_dir():
        raise UserError(f"'{source}' is not a folder: give the one that holds {needs}")
    if path.is_dir() and not (path / needs).is_file():
        raise UserError(f"'{source}' has no {needs}: give a folder in the Hugging Face layout")
    try:
        return kind.from_pretrained(str(source), trust_remote_code=False, **kwargs)
    except Exception as error:  # a damaged file can make any part of the libraries fail in its own way
        why = " ".join(str(error).split()) or type(error).__name__
        where = "" if path.is_dir() else " from the hub, and there is no such folder"
        raise UserError(f"cannot load '{source}'{where}: {why[:200]}") from error


def _load_weights(kind: Any, source: str | Path, **kwargs: Any) -> Any:
    """Load a model of which every weight is in the file; transformers would draw the missing ones at random."""
    model, info = _load(
        kind,
        source,
        use_safetensors=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **kwargs,
    )
    wrong = sorted([*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])])
    if wrong:
        raise UserError(
            f"'{source}' holds no weights of the right shape for {wrong[0]}"
            f"{f' and {len(wrong) - 1} more' if wrong[1:] else ''}: they belong to another model"
        )
    return without_dropout(model.to(device()))


def load_model(source: str | Path, *, dtype: torch.dtype = torch.float32, merge: bool = True) -> Any:
    """Load a causal language model from a folder in the Hugging Face layout, or by hub name.

    Of a folder that holds an adapter, the model that it belongs to with the adapter added to the weights or, without
    `merge`, beside them.
    """
    base = adapters.base_of(source)
    if base is None:
        return _load_weights(AutoModelForCausalLM, source, dtype=dtype)
    return without_dropout(adapters.load(load_model(base, dtype=dtype), source, merge=merge))


def load_scorer(source: str | Path, *, dtype: torch.dtype = torch.float32) -> Any:
    """Load a reward model: sequence classification with one label, or a `LikelihoodScorer`."""
    if (Path(source) / HEAD_FILE).is_file():
        scorer = LikelihoodScorer(load_model(source, dtype=dtype))
        try:
            scorer.load_head(source)
        except (SafetensorError, KeyError, RuntimeError, OSError) as error:
            raise UserError(
                f"'{Path(source) / HEAD_FILE}' is damaged or of another model: {error}"
            ) from error
        return _with_own_config(scorer, source)
    base = adapters.base_of(source)
    if base is None:
        return _load_weights(AutoModelForSequenceClassification, source, dtype=dtype, num_labels=1)
    scorer = adapters.load(scorer_from(load_model(base, dtype=dtype), seed=0), source, merge=True)
    return _with_own_config(without_dropout(scorer), source)


def _with_own_config(scorer: Any, source: str | Path) -> Any:
    """A scorer whose adapter was loaded into its base's configuration, with its own: it says how scores are read."""
    if adapters.base_of(source) is not None:
        part = scorer.writer if isinstance(scorer, LikelihoodScorer) else scorer
        part.config = _load(AutoConfig, source)
    return scorer


def load_tokenizer(source: str | Path) -> PreTrainedTokenizerBase:
    """Load a tokenizer; without an end-of-sequence token nothing could learn to stop, so that is an error."""
    tokenizer: PreTrainedTokenizerBase = _load(AutoTokenizer, source, needs="tokenizer.json")
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"the tokenizer of '{source}' has no EOS token: set eos_token in tokenizer_config.json"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


class LlamaShape(TypedDict):
    """What a new Llama is made of."""

    vocab_size: int
    hidden_size: int
    layers: int
    heads: int
    max_length: int
    bos: int
    eos: int
    pad: int
    rope_theta: NotRequired[float]
    initializer_range: NotRequired[float]
    attention_bias: NotRequired[bool]


def llama_config(**shape: Unpack[LlamaShape]) -> Any:
    """The configuration of a Llama of this shape."""
    hidden_size = shape["hidden_size"]
    return LlamaConfig(
        vocab_size=shape["vocab_size"],
        hidden_size=hidden_size,
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["heads"],
        intermediate_size=-(-hidden_size * 8 // 3 // 32) * 32,
        max_position_embeddings=shape["max_length"],
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": shape.get("rope_theta", 10_000.0)},
        initializer_range=shape.get("initializer_range", 0.02),
        attention_bias=shape.get("attention_bias", False),
        bos_token_id=shape["bos"],
        eos_token_id=shape["eos"],
        pad_token_id=shape["pad"],
    )


def new_llama(*, dtype: torch.dtype = torch.float32, **shape: Unpack[LlamaShape]) -> Any:
    """A Llama of this shape with random weights, drawn from torch's global generator."""
    return AutoModelForCausalLM.from_config(llama_config(**shape), dtype=dtype).to(device())


def scorer_from(model: Any, *, seed: int) -> Any:
    """A reward model or critic with the body of `model` and a new scalar head, weights ~ N(0, 1/(d+1))."""
    config = copy.deepcopy(model.config)
    config.num_labels = 1
    scorer: Any = AutoModelForSequenceClassification.from_config(config, dtype=model.dtype)
    scorer.base_model.load_state_dict(model.base_model.state_dict())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head = torch.randn(scorer.score.weight.shape, generator=generator)
        scorer.score.weight.copy_(head * (config.hidden_size + 1) ** -0.5)
    return without_dropout(scorer.to(model.device))


def value_model(scorer: Any) -> Any:
    """A value model that starts from a reward model's body and head: sequence classification in any case."""
    if not isinstance(scorer, LikelihoodScorer):
        return scorer
    model = scorer_from(scorer.writer, seed=0)
    with torch.no_grad():
        model.score.weight.copy_(scorer.score.weight)
    return model


def without_dropout(model: Any) -> Any:
    """Set every dropout to zero: packed rows, replayed steps and old log-probs all depend on it."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        # Some layers keep a probability as a plain number, some models read the configuration's at each call.
        for place in (module, getattr(module, "config", None)):
            for name, value in vars(place).items() if place is not None else ():
                if name.endswith(("dropout", "layerdrop")) and isinstance(value, float):
                    setattr(place, name, 0.0)
    return model


def read_config(source: str | Path) -> Any:
    """The configuration of a model, without its weights."""
    own = (Path(source) / "config.json").is_file()
    return _load(AutoConfig, source if own else adapters.base_of(source) or source)


def save_model(folder: Path, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write weights, configuration and tokenizer so that transformers opens the folder anywhere.

    Of a model with an adapter, the adapter in peft's layout in place of the weights.
    """
    adapters.save_pretrained(folder, model)
    tokenizer.save_pretrained(folder)


def same_vocabulary(one: str | Path, other: str | Path) -> bool:
    """Whether two models read the same token ids."""
    first, second = load_tokenizer(one), load_tokenizer(other)
    return bool(first.get_vocab() == second.get_vocab())
