"""A model -> judgements: measured against people first, then asked which of two answers is better."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from heedful.data import atomic, files, formats
from heedful.data.packing import shuffled
from heedful.data.rows import conversation_row
from heedful.engine import ai_judge, terminal
from heedful.engine.ai_judge import AiJudge
from heedful.engine.policy import Policy
from heedful.engine.randomness import key
from heedful.engine.sampling import Sampling
from heedful.engine.stage import Inputs, Stage, StageConfig
from heedful.errors import UserError
from heedful.stats import judge_bias
from heedful.types import Lang, Preference

CHUNK = 50  # pairs between two movements of the progress bar


class JudgeConfig(StageConfig):
    """`judge` is a model's folder or the address of an OpenAI-compatible server, where `served` names the model.

    It is measured on the choices in `people`, and judges only if it agrees with them as often as `least_agreement`,
    or with `anyway`. It labels the pairs of `data`, or of answers that `model` gives to `prompts`. `principles` is a
    file like ours (docs/judge.md), `lang` the language of ours. With `reasoning` the judge writes so many tokens before
    it chooses, and its probabilities are clamped to [`clamp`, 1 - `clamp`]. With `lessons` the choices in `people` are
    also written as dialogues from which a model learns to judge.
    """

    judge: str
    served: str | None = None
    principles: Path | None = None
    lang: Lang = "en"
    reasoning: int = Field(0, ge=0)
    clamp: float = Field(0.4, ge=0, lt=0.5)
    people: Path | None = None
    max_people: int = Field(500, gt=0)
    least_agreement: float = Field(0.6, ge=0, le=1)
    anyway: bool = False
    lessons: bool = False
    data: Path | None = None
    model: str | None = None
    prompts: Path | None = None
    max_prompts: int = Field(1000, gt=0)
    answers_per_prompt: int = Field(2, ge=2, le=9)
    temperature: float = Field(1.0, gt=0)
    max_completion_length: int = Field(64, gt=0)
    slots: int = Field(64, gt=0)

    @model_validator(mode="after")
    def _clamp_is_for_reasons(self) -> Self:
        if not self.reasoning and self.clamp != type(self).model_fields["clamp"].default:
            raise ValueError("clamp means nothing without reasoning: add reasoning=TOKENS or leave it out")
        return self


def main(config: JudgeConfig) -> dict[str, Any]:
    """Measure the judge; write its choices as `output`/preferences.jsonl, with how sure it was."""
    if config.data is None and (config.model is None) != (config.prompts is None):
        raise UserError(
            "the answers to judge need both model=DIR and prompts=FILE: add the other, or data=FILE"
        )
    inputs: Inputs = {"people": config.people, "data": config.data, "prompts": config.prompts}
    models: Inputs = {"judge": config.judge, "model": config.model, "principles": config.principles}
    stage = Stage("judge", config, {**inputs, **models})
    if (done := stage.finished()) is not None:
        return done
    judge = ai_judge.load(
        config.judge,
        config.served,
        config.principles,
        config.lang,
        reasoning=config.reasoning,
        clamp=config.clamp if config.reasoning else 0.0,
    )
    known = formats.read_preferences(config.people) if config.people else []
    measured = against_people(config, judge, known)
    asked = pairs(config)
    stage.begin()
    atomic.write_json(stage.folder / "judged.json", measured)
    if config.lessons:
        files.write_jsonl(stage.folder / "lessons.jsonl", map(conversation_row, judge.words.lessons(known)))
    if asked:
        refuse(config, measured)
    chosen = labelled(config, judge, asked)
    if chosen:
        formats.write_preferences(stage.folder / "preferences.jsonl", chosen)
    sure = float(np.mean([p.probability for p in chosen])) if chosen else None
    return stage.finish(pairs=len(chosen), probability=sure, **measured)


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    found = f"{result['pairs']} pairs judged"
    if "agreement" in result:
        agreement, shown = result["agreement"], result["first_shown"]
        found += (
            f"; agrees with people in {agreement['value']:.1%} [{agreement['low']:.1%}, {agreement['high']:.1%}] of "
            f"{agreement['n']}, chooses what is shown first in {shown['value']:.0%}"
        )
    return found


def against_people(config: JudgeConfig, judge: AiJudge, known: Sequence[Preference]) -> dict[str, Any]:
    """Agreement with people and leanings, on at most `max_people` of their choices."""
    if not known:
        return {}
    order = shuffled(len(known), key("judge", config.seed), 0)[: config.max_people]
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


def refuse(config: JudgeConfig, measured: dict[str, Any]) -> None:
    """Raise UserError for a judge that people have not been asked about, or that disagrees with them too often."""
    if config.anyway:
        return
    if not measured:
        raise UserError(
            "nobody knows yet how far this judge agrees with people: add people=FILE with choices of theirs, or "
            "anyway=true"
        )
    found = measured["agreement"]
    if found["value"] < config.least_agreement:
        raise UserError(
            f"the judge agrees with people in {found['value']:.1%} [{found['low']:.1%}, {found['high']:.1%}] of "
            f"{found['n']} choices, less than least_agreement={config.least_agreement:g}: take another judge, or say "
            "anyway=true"
        )


def pairs(config: JudgeConfig) -> list[ai_judge.Pair]:
    """What is to be judged: the pairs of a file, or of answers sampled for it."""
    if config.data is not None:
        return [(p.messages, p.chosen, p.rejected) for p in formats.read_preferences(config.data)]
    if config.model is None or config.prompts is None:
        return []
    policy = Policy.load(config.model)
    prompts = policy.fitting(formats.read_prompts(config.prompts), config.max_completion_length)
    how = Sampling(config.max_completion_length, config.temperature)
    asked = prompts[: config.max_prompts]
    answered = policy.answer(
        asked, how, seed=(config.seed, "judge"), n=config.answers_per_prompt, slots=config.slots
    )
    return [
        (prompt.messages, one, other)
        for prompt, row in zip(asked, answered, strict=True)
        for one, other in combinations(dict.fromkeys(t for t in row.texts if t), 2)
    ]


def labelled(config: JudgeConfig, judge: AiJudge, asked: Sequence[ai_judge.Pair]) -> list[Preference]:
    """The judge's choices, each with the probability that it is right."""
    found: list[Preference] = []
    with terminal.progress("judge", len(asked)) as advance:
        for start in range(0, len(asked), CHUNK):
            part = asked[start : start + CHUNK]
            for (messages, one, other), p in zip(part, judge.prefer(part).tolist(), strict=True):
                chosen, rejected = (one, other) if p >= 0.5 else (other, one)
                sure = max(p, 1 - p)
                found.append(
                    Preference(messages, chosen, rejected, source=f"judge {config.judge}", probability=sure)
                )
            advance(start + len(part))
    return found
