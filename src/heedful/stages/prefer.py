"""Judgements -> a better policy without a reward model: direct preference optimisation."""

from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from heedful.data import atomic, cache, chat
from heedful.data.formats import read_preferences
from heedful.engine import pairs
from heedful.engine.fit import Term
from heedful.engine.pairs import with_reference
from heedful.engine.precision import dtype
from heedful.engine.score import use_packed_attention
from heedful.engine.stage import Stage
from heedful.engine.train import TrainingConfig, means, train
from heedful.losses import preference
from heedful.nn import hub


class PreferConfig(TrainingConfig):
    """`model` is the policy to start from and the reference, `data` the preferences; held out by prompt."""

    model: str
    data: Path
    heldout_ratio: float = Field(0.1, gt=0, lt=1)
    learning_rate: float = Field(2e-4, gt=0)
    beta: float = Field(0.1, gt=0)


def main(config: PreferConfig) -> dict[str, Any]:
    """Train with DPO and write the policy to `output`/model."""
    stage = Stage("prefer", config, {"model": config.model, "data": config.data})
    if (done := stage.finished()) is not None:
        return done
    tokenizer = hub.load_tokenizer(config.model)
    chat.ensure_chat_template(tokenizer)
    model = hub.load_model(config.model, dtype=dtype(config.precision))
    use_packed_attention(model)
    known, unseen = pairs.split(read_preferences(config.data), config.heldout_ratio, config.seed)
    learnt = pairs.compared(tokenizer, known, config.max_length)
    heldout = pairs.compared(tokenizer, unseen, config.max_length)
    trees = with_reference(model, learnt.trees, cache=cache.folder())
    heldout_trees = with_reference(model, heldout.trees, cache=cache.folder())
    watch = {"rewards/accuracies": preference.accuracy}
    terms = [Term(partial(preference.dpo, beta=config.beta))]
    for _ in train(stage, model, trees, terms, config, watch=watch):
        pass
    figures = means(
        model, heldout_trees, {"heldout_loss": terms[0].loss, "heldout_accuracy": preference.accuracy}
    )
    with atomic.new_folder(stage.folder / "model") as folder:
        hub.save_model(folder, model, tokenizer)
    return stage.finish(
        prompts=len(trees),
        pairs=sum(len(t.pairs) for t in trees),
        too_long=learnt.too_long + heldout.too_long,
        **figures,
    )


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    return f"{result['pairs']} pairs, held-out accuracy {result['heldout_accuracy']:.3f}"
