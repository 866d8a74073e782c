"""Judgements -> a better policy without a reward model: DPO and its relatives, found by name."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from heedful.data import atomic, cache, chat
from heedful.data.remembered import remembered
from heedful.engine import judgements, tuning
from heedful.engine.batch import Tree
from heedful.engine.fit import Term
from heedful.engine.stage import Inputs, Stage
from heedful.engine.train import TrainingConfig, train
from heedful.engine.tuning import LoraConfig
from heedful.errors import UserError
from heedful.losses import find
from heedful.losses.bind import Loss
from heedful.nn import adapters, hub
from heedful.report.cautions import FELL


class PreferConfig(LoraConfig, TrainingConfig):
    """`model` is the policy to start from, `data` the judgements; held out by prompt.

    `loss` is the name of a loss in docs/losses.md, whose settings are settings here: `loss=simpo beta=2 gamma=1`.
    `reference` is the policy as it is at the `start`, the model below its adapter (`base`), or another folder.
    `borrowed` best answers to other prompts are set below each prompt's own. Data of labelled steps is compared step
    by step; `step_separator` stands behind each.
    """

    model: str
    data: Path
    loss: str = "dpo"
    loss_settings: dict[str, Any] = Field(default_factory=dict)
    reference: str = "start"
    borrowed: int = Field(0, ge=0, le=16)
    step_separator: str = Field("\n", min_length=1)
    heldout_ratio: float = Field(0.1, gt=0, lt=1)
    learning_rate: float = Field(2e-4, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _what_is_no_setting_of_the_stage_is_one_of_the_loss(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        own = {name: value for name, value in values.items() if name in cls.model_fields}
        try:
            loss = find.find(str(own.get("loss", "dpo")))
        except UserError as error:
            raise ValueError(str(error)) from error
        given = {name: value for name, value in values.items() if name not in own}
        settings = {**own.get("loss_settings", {}), **given}
        name, beside = str(own.get("loss", "dpo")), cls.model_fields
        return {**own, "loss_settings": find.checked(loss, settings, what=name, beside=beside)}

    @model_validator(mode="after")
    def _single_answers_borrow_nothing(self) -> Self:
        if self.borrowed and judgements.single_answers(find.find(self.loss)):
            raise ValueError(
                f"borrowed means nothing with loss={self.loss}, which compares no answers: leave it 0"
            )
        return self


def main(config: PreferConfig) -> dict[str, Any]:
    """Train with the loss that is named and write the policy to `output`/model."""
    inputs: Inputs = {"model": config.model, "data": config.data}
    other = config.reference not in ("start", "base")
    stage = Stage("prefer", config, {**inputs, **({"reference": config.reference} if other else {})})
    if (done := stage.finished()) is not None:
        return done
    tokenizer = hub.load_tokenizer(config.model)
    chat.ensure_chat_template(tokenizer)
    model = tuning.load_start(config)
    loss = partial(find.find(config.loss), **config.loss_settings)
    with remembered(tokenizer, stage.content("data")) as reader:
        known, unseen = (
            judgements.material(
                reader,
                rows,
                max_length=config.max_length,
                borrowed=config.borrowed,
                step_separator=config.step_separator,
                seed=config.seed,
            )
            for rows in judgements.read(loss, config.data, config.heldout_ratio, config.seed)
        )
    known, unseen = referred(config, model, loss, known, unseen)
    seen = judgements.watch(loss, float(config.loss_settings.get("beta", 1.0)))

    def prepare(trees: Sequence[Tree], numbers: Sequence[int], step: int) -> Sequence[Tree]:
        return known.prepared(model, trees, numbers)

    for _ in train(stage, model, known.trees, [Term(loss)], config, watch=seen, prepare=prepare):
        pass
    figures = judgements.measured(model, loss, unseen)
    with atomic.new_folder(stage.folder / "model") as folder:
        hub.save_model(folder, model, tokenizer)
    return stage.finish(
        loss=config.loss,
        prompts=len(known.trees),
        pairs=sum(len(t.pairs) for t in known.trees),
        answers=sum(len(t.branches) for t in known.trees),
        too_long=known.too_long + unseen.too_long,
        **figures,
    )


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    drift = result.get("chosen_drift", 0.0)
    learnt = f"{result['pairs']} pairs" if result["pairs"] else f"{result['answers']} answers"
    found = f"{result['loss']}: {learnt}, held-out accuracy {result['heldout_accuracy']:.3f}"
    if "chosen_drift" in result:
        found += f", chosen log-prob {drift:+.1f} nats"
    return found + (" (it FELL: see docs/prefer.md)" if drift < -FELL else "")


def referred(
    config: PreferConfig, model: Any, loss: Loss, known: judgements.Material, unseen: judgements.Material
) -> tuple[judgements.Material, judgements.Material]:
    """Both with the reference's log-probs; what is learnt from only where the loss names them."""
    reference, below = model, config.reference == "base" and adapters.has(model)
    if config.reference != "start" and not below:
        folder = tuning.base_folder(config.model) if config.reference == "base" else config.reference
        if not hub.same_vocabulary(config.model, folder):
            raise UserError(
                f"reference={folder} reads other token ids than model={config.model}: give one alike"
            )
        reference = hub.load_model(folder, dtype=model.dtype)
    with adapters.switched_off(model) if below else nullcontext():
        if judgements.needs_reference(loss):
            known = known.referred(reference, cache.folder())
        return known, unseen.referred(reference, cache.folder())
