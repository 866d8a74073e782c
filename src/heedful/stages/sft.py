"""Dialogues -> a policy: supervised fine-tuning, loss on the assistant's messages only."""

from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from heedful.data import atomic, cache, chat, conditions
from heedful.data.formats import read_conversations
from heedful.data.packing import shuffled
from heedful.data.rated import read_rated
from heedful.data.remembered import remembered
from heedful.engine import conditioned, pairs, tuning
from heedful.engine.batch import trained_tokens
from heedful.engine.conditioned import Told
from heedful.engine.dialogues import conversations
from heedful.engine.fit import Term
from heedful.engine.precision import dtype
from heedful.engine.randomness import key
from heedful.engine.score import use_packed_attention
from heedful.engine.stage import Inputs, Stage
from heedful.engine.train import Prepare, TrainingConfig, means, train
from heedful.engine.tuning import LoraConfig
from heedful.errors import UserError
from heedful.losses import kl
from heedful.losses.supervised import next_token
from heedful.nn import hub
from heedful.nn.pupil import Pupil
from heedful.types import Rated

Condition = Literal["none", "prefix", "points", "reward_tokens", "hindsight", "c_rlft"]
FELL = 1.0
"""By how many nats the log-prob of held-out good answers may fall before it is said."""
# The settings that each condition uses.
USED: dict[Condition, tuple[str, ...]] = {
    "none": ("heldout",),
    "prefix": ("rating", "markers", "kl_coef", "kl_estimator"),
    "points": ("rating", "markers", "kl_coef", "kl_estimator", "levels"),
    "reward_tokens": ("rating", "kl_coef", "kl_estimator", "levels"),
    "hindsight": ("rating", "markers", "mask_ratio"),
    "c_rlft": ("rating", "markers", "experts", "suboptimal_weight"),
}


class SftConfig(LoraConfig, TrainingConfig):
    """`model` is a folder or hub name, `data` a file of conversations in any known format.

    With a `condition` each answer is told how good it is, by the number in the column `rating`, a label, or the
    comparisons that it won: with `levels` for points and reward_tokens, with two classes for the others. `markers` are
    the words for them, worst first. `experts` are the sources whose answers c_rlft takes for good, `kl_coef` holds the
    policy near the model it started from, which was told nothing: by an estimate at the data's tokens (k3), or by the
    KL over the whole vocabulary. In hindsight a share of past tokens, up to `mask_ratio`, is not attended to.
    """

    model: str
    data: Path
    heldout: Path | None = None
    heldout_ratio: float = Field(0.05, gt=0, lt=1)
    learning_rate: float = Field(1e-3, gt=0)
    condition: Condition = "none"
    levels: int = Field(5, ge=2, le=20)
    rating: str = "rating"
    markers: tuple[str, ...] = ()
    experts: tuple[str, ...] = ()
    suboptimal_weight: float = Field(0.1, ge=0, le=1)
    kl_coef: float = Field(0.0, ge=0)
    kl_estimator: Literal["k3", "vocabulary"] = "k3"
    mask_ratio: float = Field(0.15, ge=0, lt=1)

    @model_validator(mode="after")
    def _settings_belong_to_the_condition(self) -> Self:
        for name in sorted({name for used in USED.values() for name in used} - set(USED[self.condition])):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} means nothing with condition={self.condition}: leave it out")
        levels = self.levels if self.condition in ("points", "reward_tokens") else 2
        if self.markers and len(self.markers) != levels:
            raise ValueError(f"markers must be {levels}, worst first: {len(self.markers)} are given")
        if self.kl_estimator != "k3" and not self.kl_coef:
            raise ValueError("kl_estimator means nothing with kl_coef=0: add kl_coef or leave it out")
        if self.condition == "reward_tokens" and self.lora_r:
            raise ValueError("reward_tokens are new words, which an adapter cannot learn: set lora_r=0")
        return self


def main(config: SftConfig) -> dict[str, Any]:
    """Fine-tune and write the policy to `output`/model; return the held-out loss."""
    inputs: Inputs = {"model": config.model, "data": config.data, "heldout": config.heldout}
    stage = Stage("sft", config, inputs)
    if (done := stage.finished()) is not None:
        return done
    tokenizer = hub.load_tokenizer(config.model)
    chat.ensure_chat_template(tokenizer)
    model = tuning.load_start(config)
    if config.condition == "none":
        with remembered(tokenizer, stage.content("data")) as reader:
            learnt, unseen, probe = plain(config, reader)
    else:
        learnt, unseen, probe = told(config, model, tokenizer)
    before = conditioned.likelihoods(model, conditioned.behind(tokenizer, probe, None)) if probe else None
    trees, heldout = learnt.trees, unseen.trees
    trained, terms = model, [Term(next_token)]
    prepare: Prepare | None = None
    if config.condition == "hindsight" and config.mask_ratio:
        prepare = partial(conditioned.forgetful, ratio=config.mask_ratio, seed=config.seed)
    if config.kl_coef:
        terms.append(Term(getattr(kl, config.kl_estimator), weight=config.kl_coef))
    if config.kl_coef and config.kl_estimator == "vocabulary":
        reference = start(config)
        trained = Pupil(model, reference)
        prepare = conditioned.Reference(reference, conditioned.behind(tokenizer, learnt, None))
    for _ in train(stage, trained, trees, terms, config, prepare=prepare):
        pass
    loss = means(model, heldout, {"loss": next_token})["loss"]
    with atomic.new_folder(stage.folder / "model") as folder:
        hub.save_model(folder, model, tokenizer)
    return stage.finish(
        conversations=sum(len(t.branches) or 1 for t in trees),
        too_long=learnt.too_long + unseen.too_long,
        trained_tokens=trained_tokens(trees),
        heldout_loss=loss,
        heldout_tokens=trained_tokens(heldout),
        **({"conditions": list(known)} if (known := conditions.known_to(tokenizer)) else {}),
        **(conditioned.learnt(model, tokenizer, probe, before) if probe and before is not None else {}),
    )


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    found = f"{result['conversations']} dialogues, held-out loss {result['heldout_loss']:.3f}"
    if "conditions" in result:
        found += f"; told their quality: {', '.join(c.strip() for c in result['conditions'])}"
    if "best_drift" in result:
        fell = " (it FELL: see docs/conditioned.md)" if result["best_drift"] < -FELL else ""
        found += f"; asked for the best, good answers {result['best_drift']:+.1f} nats since the start{fell}"
        found += f", {result['best_gap']:+.1f} against the worst, poor ones {result['worst_gap']:+.1f}"
    return found


def start(config: SftConfig) -> Any:
    """The model as it was, over the words that its tokenizer knows, for the KL over the whole vocabulary."""
    model = hub.load_model(config.model, dtype=dtype(config.precision))
    model.resize_token_embeddings(len(hub.load_tokenizer(config.model)))
    use_packed_attention(model)
    return model


Data = tuple[Told, Told, Told | None]
"""What is learnt from, what the loss is measured on, and held-out answers that are rated one by one."""


def plain(config: SftConfig, tokenizer: Any) -> Data:
    """Dialogues as they are."""
    found = Told(*conversations(tokenizer, read_conversations(config.data), config.max_length))
    if config.heldout is None:
        return apart(found, config)
    heldout, _ = conversations(tokenizer, read_conversations(config.heldout), config.max_length)
    return found, Told(heldout, 0), None


def told(config: SftConfig, model: Any, tokenizer: Any) -> Data:
    """Answers that are told their quality, behind a chat template that asks for it."""
    assert config.condition != "none"
    known = config.markers or conditions.markers(config.condition, config.levels)
    if config.condition == "reward_tokens":
        conditioned.add_tokens(model, tokenizer, known)
    conditions.condition(tokenizer, known, every_turn=config.condition == "c_rlft")
    if config.condition == "c_rlft" and config.experts:
        dialogues = read_conversations(config.data)
        strangers = set(config.experts) - {d.source for d in dialogues}
        if strangers:
            raise UserError(
                f"'{config.data}' has no answer of the source '{min(strangers)}': look at `experts`"
            )
        found = conditioned.classed(
            tokenizer, dialogues, config.experts, config.max_length, weight=config.suboptimal_weight
        )
        return apart(found, config)
    parts = pairs.split(read_rated(config.data, column=config.rating), config.heldout_ratio, config.seed)
    levels = [conditioned.levels_of([r.rating for r in part], len(known)) for part in parts]
    learnt, heldout = (
        of_ratings(config, model, tokenizer, part, own) for part, own in zip(parts, levels, strict=True)
    )
    return learnt, heldout, conditioned.told(tokenizer, parts[1], levels[1], config.max_length)


def of_ratings(config: SftConfig, model: Any, tokenizer: Any, rated: list[Rated], levels: list[int]) -> Told:
    """Rated answers, each told its level."""
    if config.condition == "hindsight":
        return conditioned.chained(tokenizer, rated, levels, config.max_length)
    found = conditioned.told(tokenizer, rated, levels, config.max_length)
    if config.condition == "c_rlft":
        return conditioned.weighed(found, config.suboptimal_weight)
    if config.kl_coef and config.kl_estimator == "k3":
        found = conditioned.with_plain_reference(model, tokenizer, found, cache=cache.folder())
    return found


def apart(found: Told, config: SftConfig) -> Data:
    """A share held out."""
    order = shuffled(len(found.trees), key("heldout", config.seed), 0)
    cut = max(1, round(len(found.trees) * config.heldout_ratio))
    learnt, heldout = ([found.trees[i] for i in part] for part in (order[cut:], order[:cut]))
    return Told(learnt, found.too_long), Told(heldout, 0), None
