"""What a stage that trains a given model starts from: all of its weights, or a small adapter beside them."""

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from heedful.engine.precision import dtype
from heedful.engine.stage import StageConfig
from heedful.nn import adapters, hub
from heedful.nn.likelihood_scorer import LikelihoodScorer


class LoraConfig(StageConfig):
    """With `lora_r` above 0 an adapter of that rank is trained in place of the weights."""

    lora_r: int = Field(0, ge=0)
    lora_alpha: float = Field(16.0, gt=0)
    lora_target_modules: str | tuple[str, ...] = "all-linear"
    lora_dropout: float = 0.0

    @field_validator("lora_dropout")
    @classmethod
    def _no_dropout(cls, value: float) -> float:
        if value:
            raise ValueError(
                "a step that is taken again must be the same step, so there is no dropout: leave it 0"
            )
        return value


def load_start(config: Any) -> Any:
    """The model that `config.model` names, as a stage trains it: its adapter, if it has one, goes on being trained."""
    model = hub.load_model(config.model, dtype=dtype(config.precision), merge=not config.lora_r)
    return adapters.adapt(model, config, base=config.model)


def adapt_scorer(scorer: Any, config: Any) -> Any:
    """A reward model as a stage trains it: with `lora_r`, an adapter and its head."""
    if isinstance(scorer, LikelihoodScorer):
        adapters.adapt(scorer.writer, config, base=config.model)
    else:
        adapters.adapt(scorer, config, base=config.model, whole=("score",))
    return scorer


def base_folder(source: str | Path) -> str:
    """The model below an adapter, which is the model itself where there is none."""
    return adapters.base_of(source) or str(source)
