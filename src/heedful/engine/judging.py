"""How a model is asked to judge: where it is, by which principles, and how it is measured against people first."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from heedful.data.formats import read_preferences
from heedful.data.packing import shuffled
from heedful.engine.ai_judge import AiJudge
from heedful.engine.chooser import Chooser, ModelChooser, ServerChooser
from heedful.engine.endpoint import Endpoint, is_address
from heedful.engine.policy import Policy
from heedful.engine.randomness import key
from heedful.errors import UserError
from heedful.stats import judge_bias
from heedful.tasks import principles
from heedful.types import Lang, Preference


class Judging(BaseModel):
    """`principles` is a file like ours (docs/judge.md), `lang` the language of ours.

    With `reasoning` the judge writes so many tokens before it chooses, and its probabilities are clamped to [`clamp`,
    1 - `clamp`]. It is measured on the choices in `people`, and judges only if it agrees with them as often as
    `least_agreement`, or with `anyway`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    principles: Path | None = None
    lang: Lang = "en"
    reasoning: int = Field(0, ge=0)
    clamp: float = Field(0.4, ge=0, lt=0.5)
    people: Path | None = None
    max_people: int = Field(500, gt=0)
    least_agreement: float = Field(0.6, ge=0, le=1)
    anyway: bool = False

    @model_validator(mode="after")
    def _clamp_is_for_reasons(self) -> Self:
        if not self.reasoning and self.clamp != Judging.model_fields["clamp"].default:
            raise ValueError("clamp means nothing without reasoning: add reasoning=TOKENS or leave it out")
        return self


def load(source: str, how: Judging) -> AiJudge:
    """The judge in a folder, or behind a server's address, http://host:8000/v1#NAME; its key is HEEDFUL_API_KEY's."""
    words = principles.read(how.principles, how.lang)
    if how.reasoning and not words.reason:
        raise UserError(
            "these principles do not say how to reason before choosing: add reason and conclude, see docs/judge.md"
        )
    return AiJudge(_chooser(source), words, how.reasoning, how.clamp if how.reasoning else 0.0)


def _chooser(source: str) -> Chooser:
    if not is_address(source):
        return ModelChooser(Policy.load(source))
    address, _, name = source.partition("#")
    if not name:
        raise UserError(f"a judge behind a server needs the name of its model: write {address}#NAME")
    return ServerChooser(Endpoint(address, os.environ.get("HEEDFUL_API_KEY")), name)


def against_people(how: Judging, judge: AiJudge, known: Sequence[Preference], *, seed: int) -> dict[str, Any]:
    """Agreement with people and leanings, on at most `max_people` of their choices."""
    if not known:
        return {}
    order = shuffled(len(known), key("judge", seed), 0)[: how.max_people]
    chosen = [known[i] for i in order]
    numbers = {messages: i for i, messages in enumerate(dict.fromkeys(p.messages for p in chosen))}
    views = judge.views([(p.messages, p.chosen, p.rejected) for p in chosen])
    longer = np.asarray([float(len(p.chosen) - len(p.rejected)) for p in chosen])
    clusters = [numbers[p.messages] for p in chosen]
    names = [p.name for p in judge.words.principles]
    return {
        **judge_bias.told(judge_bias.figures(views, longer, clusters)),
        "by_principle": judge_bias.told(judge_bias.by_principle(views, names, clusters)),
    }


def refuse(how: Judging, measured: dict[str, Any]) -> None:
    """Raise UserError for a judge that people have not been asked about, or that disagrees with them too often."""
    if how.anyway:
        return
    if not measured:
        raise UserError(
            "nobody knows yet how far this judge agrees with people: add people=FILE with choices of theirs, or "
            "anyway=true"
        )
    found = measured["agreement"]
    if found["value"] < how.least_agreement:
        raise UserError(
            f"the judge agrees with people in {_rate(found)} choices, less than "
            f"least_agreement={how.least_agreement:g}: take another judge, or say anyway=true"
        )


def choices(how: Judging) -> list[Preference]:
    """What people chose, to measure the judge on."""
    return read_preferences(how.people) if how.people else []


def trusted(how: Judging, judge: AiJudge, *, seed: int) -> dict[str, Any]:
    """How far the judge agrees with people; UserError where it is refused."""
    measured = against_people(how, judge, choices(how), seed=seed)
    refuse(how, measured)
    return measured


def line(result: dict[str, Any]) -> str:
    """How far the judge agrees with people, to be added to a stage's line; nothing where it was not measured."""
    if "agreement" not in result:
        return ""
    shown = result["first_shown"]["value"]
    return f"; agrees with people in {_rate(result['agreement'])}, chooses what is shown first in {shown:.0%}"


def _rate(found: Mapping[str, Any]) -> str:
    """A share with its interval, which one choice alone does not have."""
    interval = "" if found["low"] is None else f" [{found['low']:.1%}, {found['high']:.1%}]"
    return f"{found['value']:.1%}{interval} of {found['n']}"
