"""Text -> a base model: causal language modelling from random weights."""

import math
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import Field, model_validator

from heedful.data import atomic
from heedful.data.formats import read_texts
from heedful.data.remembered import remembered
from heedful.engine.batch import trained_tokens
from heedful.engine.dialogues import documents
from heedful.engine.optim import OptimizerName
from heedful.engine.precision import dtype
from heedful.engine.stage import Stage
from heedful.engine.train import TrainingConfig, means, train
from heedful.losses.supervised import next_token
from heedful.nn import hub


class PretrainConfig(TrainingConfig):
    """`data` and `heldout` are files of texts, `tokenizer` a folder; the rest is the model's shape."""

    data: Path
    heldout: Path
    tokenizer: Path
    hidden_size: int = Field(128, gt=0)
    layers: int = Field(4, gt=0)
    heads: int = Field(4, gt=0)
    rope_theta: float = Field(10_000.0, gt=1)
    initializer_range: float = Field(0.02, gt=0)
    attention_bias: bool = False
    learning_rate: float = Field(3e-3, gt=0)
    optimizer: OptimizerName = "muon"
    max_length: int = Field(512, gt=1)

    @model_validator(mode="after")
    def _heads_divide_the_model(self) -> Self:
        if self.hidden_size % (2 * self.heads):
            raise ValueError(
                f"hidden_size={self.hidden_size} is no multiple of twice heads={self.heads}: change one"
            )
        return self


def main(config: PretrainConfig) -> dict[str, Any]:
    """Train the model and write it to `output`/model; return tokens, held-out loss and perplexity."""
    inputs = {"data": config.data, "heldout": config.heldout, "tokenizer": config.tokenizer}
    stage = Stage("pretrain", config, inputs)
    if (done := stage.finished()) is not None:
        return done
    tokenizer = hub.load_tokenizer(config.tokenizer)
    torch.manual_seed(config.seed)
    model = hub.new_llama(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        layers=config.layers,
        heads=config.heads,
        max_length=config.max_length,
        bos=tokenizer.bos_token_id,
        eos=tokenizer.eos_token_id,
        pad=tokenizer.pad_token_id,
        rope_theta=config.rope_theta,
        initializer_range=config.initializer_range,
        attention_bias=config.attention_bias,
        dtype=dtype(config.precision),
    )
    with remembered(tokenizer, stage.content("data", "heldout")) as reader:
        trees = documents(reader, read_texts(config.data), config.max_length)
        heldout = documents(reader, read_texts(config.heldout), config.max_length)
    tokens = 0
    for step in train(stage, model, trees, next_token, config):
        tokens += step.tokens
    loss = means(model, heldout, {"loss": next_token})["loss"]
    with atomic.new_folder(stage.folder / "model") as folder:
        hub.save_model(folder, model, tokenizer)
    return stage.finish(
        parameters=sum(p.numel() for p in model.parameters()),
        data_tokens=trained_tokens(trees),
        heldout_loss=loss,
        heldout_perplexity=math.exp(loss),
        heldout_tokens=trained_tokens(heldout),
    )


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    return (
        f"{result['parameters'] / 1e6:.2f}M parameters, {result['data_tokens'] / 1e6:.2f}M tokens, "
        f"held-out perplexity {result['heldout_perplexity']:.2f}"
    )
