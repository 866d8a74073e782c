"""Dialogues -> a policy: supervised fine-tuning, loss on the assistant's messages only."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from heedful.data import atomic, chat, conditions
from heedful.data.formats import read_conversations
from heedful.data.packing import shuffled
from heedful.data.rated import read_rated
from heedful.data.remembered import remembered
from heedful.engine import conditioned, pairs, tuning
from heedful.engine.batch import Tree, trained_tokens
from heedful.engine.dialogues import conversations
from heedful.engine.fit import Term
from heedful.engine.randomness import key
from heedful.engine.stage import Inputs, Stage
from heedful.engine.train import TrainingConfig, means, train
from heedful.engine.tuning import LoraConfig
from heedful.errors import UserError
from heedful.losses import kl
from heedful.losses.supervised import next_token
from heedful.nn import hub
from heedful.types import Rated

Condition = Literal["none", "prefix", "points", "reward_tokens", "hindsight", "c_rlft"]
# The settings that each condition uses.
USED: dict[Condition, tuple[str, ...]] = {
    "none": ("heldout",),
    "prefix": ("rating", "markers", "kl_coef"),
    "points": ("rating", "markers", "kl_coef", "levels"),
    "reward_tokens": ("rating", "kl_coef", "levels"),
    "hindsight": ("rating", "markers"),
    "c_rlft": ("rating", "markers", "experts", "suboptimal_weight"),
}


class SftConfig(LoraConfig, TrainingConfig):
    """`model` is a folder or hub name, `data` a file of conversations in any known format.

    With a `condition` each answer is told how good it is, by the number in the column `rating`, a label, or the
    comparisons that it won: with `levels` for points and reward_tokens, with two classes for the others. `markers` are
    the words for them, worst first. `experts` are the sources whose answers c_rlft takes for good, `kl_coef` holds the
    policy near the model it started from, which was told nothing.
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

    @model_validator(mode="after")
    def _settings_belong_to_the_condition(self) -> Self:
        for name in sorted({name for used in USED.values() for name in used} - set(USED[self.condition])):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} means nothing with condition={self.condition}: leave it out")
        levels = self.levels if self.condition in ("points", "reward_tokens") else 2
        if self.markers and len(self.markers) != levels:
            raise ValueError(f"markers must be {levels}, worst first: {len(self.markers)} are given")
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
            trees, heldout, too_long = plain(config, reader)
    else:
        trees, heldout, too_long = told(config, model, tokenizer)
    terms = [Term(next_token), *([Term(kl.k3, weight=config.kl_coef)] if config.kl_coef else [])]
    for _ in train(stage, model, trees, terms, config):
        pass
    loss = means(model, heldout, {"loss": next_token})["loss"]
    with atomic.new_folder(stage.folder / "model") as folder:
        hub.save_model(folder, model, tokenizer)
    return stage.finish(
        conversations=sum(len(t.branches) or 1 for t in trees),
        too_long=too_long,
        trained_tokens=trained_tokens(trees),
        heldout_loss=loss,
        heldout_tokens=trained_tokens(heldout),
        **({"conditions": list(known)} if (known := conditions.known_to(tokenizer)) else {}),
    )


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    found = f"{result['conversations']} dialogues, held-out loss {result['heldout_loss']:.3f}"
    if "conditions" in result:
        found += f"; told their quality: {', '.join(c.strip() for c in result['conditions'])}"
    return found


Data = tuple[list[Tree], list[Tree], int]


def plain(config: SftConfig, tokenizer: Any) -> Data:
    """Dialogues as they are: (learnt from, held out, too long)."""
    trees, too_long = conversations(tokenizer, read_conversations(config.data), config.max_length)
    if config.heldout is not None:
        heldout, _ = conversations(tokenizer, read_conversations(config.heldout), config.max_length)
        return trees, heldout, too_long
    return (*apart(trees, config), too_long)


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
        return (*apart(found.trees, config), found.too_long)
    parts = pairs.split(read_rated(config.data, column=config.rating), config.heldout_ratio, config.seed)
    learnt, heldout = (of_ratings(config, model, tokenizer, part, len(known)) for part in parts)
    return learnt.trees, heldout.trees, learnt.too_long + heldout.too_long


def of_ratings(
    config: SftConfig, model: Any, tokenizer: Any, rated: list[Rated], count: int
) -> conditioned.Told:
    """Rated answers, each told its level."""
    levels = conditioned.levels_of([r.rating for r in rated], count)
    if config.condition == "hindsight":
        return conditioned.chained(tokenizer, rated, levels, config.max_length)
    found = conditioned.told(tokenizer, rated, levels, config.max_length)
    if config.condition == "c_rlft":
        return conditioned.weighed(found, config.suboptimal_weight)
    if config.kl_coef:
        found = conditioned.with_plain_reference(model, tokenizer, found)
    return found


def apart(trees: list[Tree], config: SftConfig) -> tuple[list[Tree], list[Tree]]:
    """(learnt from, held out)."""
    order = shuffled(len(trees), key("heldout", config.seed), 0)
    cut = max(1, round(len(trees) * config.heldout_ratio))
    return [trees[i] for i in order[cut:]], [trees[i] for i in order[:cut]]
