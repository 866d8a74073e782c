"""Rewards by name: a reward model, a function, shaping terms, or several of them combined as a YAML file says."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from heedful import settings
from heedful.engine.endpoint import is_address
from heedful.engine.process_reward import ProcessRewardModel, described
from heedful.engine.reward_model import RewardModel
from heedful.engine.reward_server import ServerReward
from heedful.engine.scorer import Scorer
from heedful.engine.stage import Inputs
from heedful.errors import UserError
from heedful.nn import hub
from heedful.tasks import combine, shaping
from heedful.tasks.judge import HONESTY, Judge, find_judge, judge_code
from heedful.types import Prompt

Combination = Literal["sum", "weights", "normalise", "gate", "minimum", "uncertainty"]
Shape = Literal["length", "repetition", "format"]
_YAML = (".yaml", ".yml")


class Source(BaseModel):
    """One reward: `from` is a reward model, `world` or `file.py:function`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    place: str = Field(alias="from")
    weight: float = 1.0


class Shaping(BaseModel):
    """One shaping term: `weight` times the characters beyond `free`, the share of repeated n-grams, or 1 for a form."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    term: Shape = Field(alias="from")
    weight: float
    free: int = Field(0, ge=0)
    n: int = Field(4, gt=0)
    pattern: str = ""

    @model_validator(mode="after")
    def _can_be_matched(self) -> Self:
        if (self.term == "format") != bool(self.pattern):
            raise ValueError("'pattern' is what 'from: format' needs, and no other term")
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"pattern is no regular expression: {error}") from None
        return self

    def of(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """What the term adds to each answer's reward."""
        terms: Mapping[str, Callable[..., list[float]]] = {
            "length": partial(shaping.length, free=self.free),
            "repetition": partial(shaping.repetition, n=self.n),
            "format": partial(shaping.form, pattern=self.pattern),
        }
        return self.weight * np.asarray(terms[self.term](texts), dtype=np.float64)


class RewardsConfig(BaseModel):
    """What a YAML file of rewards says; `threshold` belongs to combine: gate, `coefficient` to uncertainty."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    combine: Combination = "weights"
    rewards: tuple[Source, ...] = Field(min_length=1)
    shaping: tuple[Shaping, ...] = ()
    threshold: float = Field(0.15, gt=0, lt=1)
    coefficient: float = Field(0.1, ge=0)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [reward.name for reward in self.rewards] + [term.name for term in self.shaping]
        if len(set(names)) < len(names):
            raise ValueError("two rewards have the same name: each is logged under its own")
        if self.combine == "gate" and {r.name for r in self.rewards} != {"safe", "helpful"}:
            raise ValueError("combine: gate takes two rewards, named safe and helpful")
        weighted = self.combine in ("weights", "normalise")
        if not weighted and any(r.weight != 1 for r in self.rewards):
            raise ValueError(
                f"combine: {self.combine} takes no weights: leave them out, or say combine: weights"
            )
        return self


@dataclass
class FunctionReward:
    """A judge function as a `Scorer`: its "total" is the score."""

    judge: Judge
    metrics: Mapping[str, float] = field(default_factory=dict)

    def scores(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[list[float]]:
        """Scores [prompt][answer], all asked for in one call."""
        asked = [prompt for prompt, texts in zip(prompts, answers, strict=True) for _ in texts]
        found = self.judge(asked, [text for texts in answers for text in texts])
        return rows([grade["total"] for grade in found], answers)


@dataclass
class RewardSet:
    """Several rewards combined, and shaping terms added; each is logged by itself.

    Where values are normalised, it is over the answers of one call.
    """

    config: RewardsConfig
    parts: Mapping[str, Scorer]
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def relative(self) -> bool:
        """Whether a score depends on the other answers of its call."""
        return self.config.combine in ("normalise", "gate")

    def scores(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[list[float]]:
        """Combined scores [prompt][answer]."""
        texts = [text for row in answers for text in row]
        if not texts:
            return [[] for _ in answers]
        values = {
            name: np.asarray([s for row in part.scores(prompts, answers) for s in row], dtype=np.float64)
            for name, part in self.parts.items()
        }
        added = {term.name: term.of(texts) for term in self.config.shaping}
        risky = [bool(p.columns.get("safety")) for p, row in zip(prompts, answers, strict=True) for _ in row]
        total = combined(self.config, values, risky) + sum(added.values(), np.zeros(len(texts)))
        self.metrics = {
            f"rewards/{name}/{what}": float(figure(one))
            for name, one in (values | added).items()
            for what, figure in (("mean", np.mean), ("std", np.std))
        }
        return rows(total.tolist(), answers)


def combined(
    config: RewardsConfig, values: Mapping[str, NDArray[np.float64]], risky: Sequence[bool]
) -> NDArray[np.float64]:
    """One value an answer, in the way that the configuration names."""
    table = np.stack(list(values.values()))
    weights = [source.weight for source in config.rewards]
    if config.combine == "gate":
        return combine.gated(values["safe"], values["helpful"], risky, threshold=config.threshold)
    if config.combine == "minimum":
        return combine.minimum(table)
    if config.combine == "uncertainty":
        return combine.certain(table, coefficient=config.coefficient)
    return (combine.normalised if config.combine == "normalise" else combine.weighted)(table, weights)


def rows(flat: Sequence[float], answers: Sequence[Sequence[str]]) -> list[list[float]]:
    """Flat values, one an answer, as [prompt][answer]."""
    values = iter(flat)
    return [[next(values) for _ in row] for row in answers]


def load_reward(source: str | Path) -> Scorer:
    """A reward model's folder (or hub name), `world`, `file.py:function`, a server's address, or a YAML file.

    A YAML file combines several of these.
    """
    name = str(source)
    if is_address(name):
        return ServerReward.at(name)
    if name.endswith(_YAML):
        config = read_rewards(source)
        return RewardSet(config, {part.name: load_reward(part.place) for part in config.rewards})
    if is_function(name):
        return FunctionReward(find_judge(name))
    if described(hub.read_config(name))[0] is not None:
        return ProcessRewardModel.load(name)
    return RewardModel.load(name)


def read_rewards(source: str | Path) -> RewardsConfig:
    """Read a YAML file of rewards; what `from` names is looked for from where the command runs."""
    if not Path(source).is_file():
        raise UserError(
            f"there is no file '{source}': give a reward model's folder, or a YAML file of rewards"
        )
    config = settings.build(RewardsConfig, settings.read(Path(source)), what=str(source))
    for part in config.rewards:
        if part.place.endswith(_YAML):
            raise UserError(
                f"{source}: the reward '{part.name}' is a YAML file itself: list its rewards here"
            )
    return config


def is_function(name: str) -> bool:
    """Whether a reward's name means a function, not a model."""
    return name in ("world", "panel") or name.startswith(HONESTY) or judge_code(name) is not None


def reward_inputs(source: str | Path, key: str = "reward") -> Inputs:
    """What a stage has to fingerprint for a reward: the models, the code of functions, and the YAML file itself."""
    name = str(source)
    if name.endswith(_YAML):
        found: dict[str, Path | str | None] = {key: Path(name)}
        for number, part in enumerate(read_rewards(name).rewards):
            found |= reward_inputs(part.place, f"{key}.{number}")
        return found
    return {key: judge_code(name) or name}


def reward_body(source: str | Path) -> str | None:
    """The first reward model in it, whose body a critic may start from; None if there is none."""
    name = str(source)
    places = [part.place for part in read_rewards(name).rewards] if name.endswith(_YAML) else [name]
    return next((p for p in places if not is_function(p) and not is_address(p)), None)
