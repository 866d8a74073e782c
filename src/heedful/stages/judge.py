"""A model -> judgements: measured against people first, then asked which of two answers is better."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from heedful.data import atomic, files, formats
from heedful.data.rows import conversation_row
from heedful.engine import ai_judge, judging, terminal
from heedful.engine.ai_judge import AiJudge
from heedful.engine.judging import Judging
from heedful.engine.policy import Policy
from heedful.engine.sampling import Sampling
from heedful.engine.stage import Inputs, Stage, StageConfig
from heedful.errors import UserError
from heedful.types import Preference

CHUNK = 50  # pairs between two movements of the progress bar


class JudgeConfig(Judging, StageConfig):
    """`judge` is a model's folder or its address on an OpenAI-compatible server, http://host:8000/v1#NAME.

    It is measured on the choices in `people`, and judges only if it agrees with them as often as `least_agreement`,
    or with `anyway`. It labels the pairs of `data`, or of answers that `model` gives to `prompts`. `principles` is a
    file like ours (docs/judge.md), `lang` the language of ours. With `reasoning` the judge writes so many tokens before
    it chooses, and its probabilities are clamped to [`clamp`, 1 - `clamp`]. With `lessons` the choices in `people` are
    also written as dialogues from which a model learns to judge.
    """

    judge: str
    lessons: bool = False
    data: Path | None = None
    model: str | None = None
    prompts: Path | None = None
    max_prompts: int = Field(1000, gt=0)
    answers_per_prompt: int = Field(2, ge=2, le=9)
    temperature: float = Field(1.0, gt=0)
    max_completion_length: int = Field(64, gt=0)
    slots: int = Field(64, gt=0)


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
    judge = judging.load(config.judge, config)
    known = judging.choices(config)
    measured = judging.against_people(config, judge, known, seed=config.seed)
    asked = pairs(config)
    stage.begin()
    atomic.write_json(stage.folder / "judged.json", measured)
    if config.lessons:
        files.write_jsonl(stage.folder / "lessons.jsonl", map(conversation_row, judge.words.lessons(known)))
    if asked:
        judging.refuse(config, measured)
    chosen = labelled(config, judge, asked)
    if chosen:
        formats.write_preferences(stage.folder / "preferences.jsonl", chosen)
    sure = float(np.mean([p.probability for p in chosen])) if chosen else None
    return stage.finish(pairs=len(chosen), probability=sure, **measured)


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    return f"{result['pairs']} pairs judged{judging.line(result)}"


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
