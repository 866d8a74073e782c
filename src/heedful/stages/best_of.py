"""A reward without gradients -> better answers, or a better policy: best of n, rejection sampling, expert iteration."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from heedful.data import atomic, files
from heedful.data.formats import read_prompts
from heedful.data.rows import messages_row
from heedful.engine.asking import taken
from heedful.engine.dialogues import conversations
from heedful.engine.policy import Policy
from heedful.engine.precision import dtype
from heedful.engine.randomness import key
from heedful.engine.rewards import load_reward, reward_inputs
from heedful.engine.sampler import Answered
from heedful.engine.sampling import Sampling
from heedful.engine.scorer import Scorer
from heedful.engine.stage import Inputs, Stage
from heedful.engine.train import TrainingConfig, train
from heedful.errors import UserError
from heedful.losses.supervised import next_token
from heedful.nn import hub
from heedful.stats import intervals
from heedful.stats.overoptimisation import best_of, kl_bound
from heedful.tasks.judge import Judge, find_judge, judge_code
from heedful.types import Conversation, Message, Prompt

Row = dict[str, Any]


class BestOfConfig(TrainingConfig):
    """`model` answers `prompts_per_round` of the `prompts`, `num_generations` times each; `reward` chooses.

    With `rounds=0` the chosen answers are written and that is all. In each round the policy is fine-tuned on its
    chosen answers: the `keep` best of a prompt that earn at least `min_reward`. `pool` adds those of all rounds before;
    `start_from=start` trains the given model anew in every round, `previous` goes on with the newest.
    """

    model: str
    reward: str
    prompts: Path
    judge: str | None = None
    rounds: int = Field(0, ge=0)
    prompts_per_round: int = Field(256, gt=0)
    num_generations: int = Field(16, ge=2)
    temperature: float = Field(1.0, gt=0)
    max_completion_length: int = Field(64, gt=0)
    keep: int = Field(1, gt=0)
    min_reward: float | None = None
    pool: bool = True
    start_from: Literal["start", "previous"] = "start"
    learning_rate: float = Field(2e-4, gt=0)
    slots: int = Field(64, gt=0)

    @model_validator(mode="after")
    def _no_more_is_kept_than_drawn(self) -> Self:
        if self.keep > self.num_generations:
            raise ValueError("keep is larger than num_generations: lower it")
        return self


def main(config: BestOfConfig) -> dict[str, Any]:
    """Write the best answers to `output`/best.jsonl and, after rounds of learning from them, the policy to model/."""
    inputs: Inputs = {"model": config.model, **reward_inputs(config.reward), "prompts": config.prompts}
    stage = Stage("best_of", config, {**inputs, "judge_code": judge_code(config.judge)})
    if (done := stage.finished()) is not None:
        return done
    tokenizer = hub.load_tokenizer(config.model)
    prompts = Policy(hub.load_model(config.model), tokenizer).fitting(
        read_prompts(config.prompts), config.max_completion_length
    )
    reward = load_reward(config.reward)
    judge = find_judge(config.judge) if config.judge else None
    stage.begin()
    policy, files_of_rounds = config.model, list[Path]()
    for number in range(1, max(1, config.rounds) + 1):
        folder = stage.folder / f"round-{number}"
        chosen = folder / "answers.jsonl"
        files.write_jsonl(chosen, drawn(config, number, policy, prompts, reward, judge))
        files_of_rounds.append(chosen)
        if config.rounds:
            policy = learnt(config, number, policy, files_of_rounds)
    figures = by_n(read_rows(stage.folder / "round-1" / "answers.jsonl"))
    dialogues = pooled(config, files_of_rounds)
    rows = [{"messages": messages_row(d.messages), "source": d.source} for d in dialogues]
    files.write_jsonl(stage.folder / "best.jsonl", rows)
    if config.rounds:
        with atomic.new_folder(stage.folder / "model") as place:
            hub.save_model(place, hub.load_model(policy), tokenizer)
    answers = max(1, config.rounds) * min(config.prompts_per_round, len(prompts)) * config.num_generations
    return stage.finish(answers=answers, chosen=len(dialogues), best_of=figures)


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    first, last = result["best_of"][0], result["best_of"][-1]
    return (
        f"{result['answers']} answers, {result['chosen']} chosen; reward {first['reward']['value']:+.2f} of one, "
        f"{last['reward']['value']:+.2f} of the best of {last['n']}"
    )


def drawn(
    config: BestOfConfig,
    number: int,
    source: str,
    prompts: Sequence[Prompt],
    reward: Scorer,
    judge: Judge | None,
) -> list[Row]:
    """A round's prompts with all their answers and scores."""
    n = min(config.prompts_per_round, len(prompts))
    wanted = taken(len(prompts), range((number - 1) * n, number * n), key("best of", config.seed))
    asked = [prompts[i] for i in wanted]
    how = Sampling(config.max_completion_length, config.temperature)
    policy = Policy.load(source)
    answered = policy.answer(
        asked, how, seed=(config.seed, "best of", number), n=config.num_generations, slots=config.slots
    )
    scores = reward.scores(asked, [a.texts for a in answered])
    gold = [judge([p] * len(a.texts), a.texts) if judge else [] for p, a in zip(asked, answered, strict=True)]
    return [row(p, a, s, g) for p, a, s, g in zip(asked, answered, scores, gold, strict=True)]


def row(prompt: Prompt, answered: Answered, scores: Sequence[float], gold: Sequence[dict[str, float]]) -> Row:
    """One prompt as a line of answers.jsonl."""
    return {
        "id": prompt.id,
        "messages": messages_row(prompt.messages),
        "answers": list(answered.texts),
        "finished": [s.finished for s in answered.samples],
        "scores": list(scores),
        **({"grades": [g["total"] for g in gold]} if gold else {}),
    }


def read_rows(path: Path) -> list[Row]:
    """The lines of answers.jsonl."""
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]


def chosen(config: BestOfConfig, rows: Sequence[Row]) -> list[tuple[float, str]]:
    """The best different answers in rows of one prompt that end by themselves, best first."""
    found: dict[str, float] = {}
    for each in rows:
        for text, score, finished in zip(each["answers"], each["scores"], each["finished"], strict=True):
            if finished and text and (config.min_reward is None or score >= config.min_reward):
                found.setdefault(text, score)
    best = sorted(found.items(), key=lambda item: -item[1])[: config.keep]
    return [(score, text) for text, score in best]


def pooled(config: BestOfConfig, rounds: Sequence[Path]) -> list[Conversation]:
    """What is learnt from: the best answers of each prompt, of all rounds or of the newest (Llama 2, section 3.2.3)."""
    by_prompt: dict[str, list[Row]] = {}
    for path in rounds if config.pool else rounds[-1:]:
        for each in read_rows(path):
            by_prompt.setdefault(each["id"], []).append(each)
    found = []
    for name, rows in by_prompt.items():
        asked = tuple(Message(m["role"], m["content"]) for m in rows[0]["messages"])
        for score, text in chosen(config, rows):
            found.append(Conversation((*asked, Message("assistant", text)), name, source=f"best {score:.3f}"))
    if not found:
        raise UserError(
            "no answer was good enough to be learnt from: lower min_reward, or raise num_generations or "
            "max_completion_length"
        )
    return found


def learnt(config: BestOfConfig, number: int, policy: str, rounds: Sequence[Path]) -> str:
    """Fine-tune on the chosen answers; where the round's policy is."""
    folder = rounds[-1].parent / "tuned"
    start = config.model if config.start_from == "start" else policy
    inputs: dict[str, Path | str | None] = {
        "model": start,
        "prompts": config.prompts,
    }
    inputs |= reward_inputs(config.reward)
    inputs |= {f"prompts.round-{i}": path for i, path in enumerate(rounds, 1)}
    stage = Stage("best_of", config.model_copy(update={"output": folder}), inputs)
    if stage.finished() is None:
        tokenizer = hub.load_tokenizer(config.model)
        model = hub.load_model(start, dtype=dtype(config.precision))
        trees, too_long = conversations(tokenizer, pooled(config, rounds), config.max_length)
        for _ in train(stage, model, trees, next_token, config):
            pass
        with atomic.new_folder(folder / "model") as place:
            hub.save_model(place, model, tokenizer)
        stage.finish(round=number, conversations=len(trees), too_long=too_long)
    return str(folder / "model")


def by_n(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What the best of n = 1, 2, 4, ... of the first round earns, without bias, and its largest KL in nats."""
    scores = np.asarray([r["scores"] for r in rows])
    grades = np.asarray([r["grades"] for r in rows]) if "grades" in rows[0] else None
    found = []
    for n in [2**k for k in range(scores.shape[1].bit_length()) if 2**k <= scores.shape[1]]:
        figure = {"n": n, "kl_bound": kl_bound(n), "reward": mean(best_of(scores, scores, n))}
        found.append(figure | ({"grade": mean(best_of(scores, grades, n))} if grades is not None else {}))
    return found


def mean(values: Any) -> dict[str, Any]:
    """A mean over prompts with its interval."""
    return dataclasses.asdict(intervals.mean_interval(values))
