"""Policies -> figures: win rates with intervals, KL, length, stopping, repetition, and who is promoted."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from heedful.data import conditions, files
from heedful.data.formats import read_conversations, read_preferences, read_prompts
from heedful.data.rows import messages_row
from heedful.engine import benchmark, judges, terminal
from heedful.engine.batch import Tree
from heedful.engine.dialogues import conversations
from heedful.engine.pairs import compared
from heedful.engine.policy import Answered, Policy
from heedful.engine.rewards import RewardSet, load_reward, reward_inputs
from heedful.engine.sample import Sampling
from heedful.engine.scorer import Scorer
from heedful.engine.siding import answers_logp, siding
from heedful.engine.stage import Stage, StageConfig
from heedful.engine.train import means
from heedful.errors import UserError
from heedful.losses.supervised import next_token
from heedful.stats import intervals
from heedful.stats.distinct import distinct
from heedful.stats.estimate import Estimate
from heedful.tasks.judge import Judge
from heedful.types import Conversation, Prompt

MODES = {"sampled": 1.0, "greedy": 0.0}
EQUAL = 1e-9  # grades nearer than this are a tie
Column = list[float]
Table = dict[str, Column]


class EvaluateConfig(StageConfig):
    """`models` maps names to folders; the first is the baseline that the others are compared with.

    `conditions` maps some of the names to what is asked of a model that was trained on conditions: words of its
    own, or a number from 1, the worst, on.

    `judgements` are preferences that no model has learnt from: of each policy is said how often it sides with them.
    `benchmark` is a file of pairs with a column `subset` that the `reward` is measured on, with or without models.
    """

    models: dict[str, str] = Field(default_factory=dict)
    conditions: dict[str, str | int] = Field(default_factory=dict)
    prompts: Path | None = None
    judge: str | None = None
    reward: str | None = None
    benchmark: Path | None = None
    heldout: Path | None = None
    judgements: Path | None = None
    max_length: int = Field(512, gt=1)
    max_completion_length: int = Field(64, gt=0)
    max_prompts: int = Field(1024, gt=0)
    slots: int = Field(64, gt=0)


def main(config: EvaluateConfig) -> dict[str, Any]:
    """Answer every prompt with every policy, sampled and greedily; compare, and promote the measurably better.

    Without models, measure the reward on the benchmark alone.
    """
    check(config)
    inputs: dict[str, Path | str | None] = {
        f"models.{i}.{name}": source for i, (name, source) in enumerate(config.models.items())
    }
    inputs |= {"prompts": config.prompts, "heldout": config.heldout}
    inputs |= reward_inputs(config.reward) if config.reward else {}
    inputs |= {"benchmark": config.benchmark, "judgements": config.judgements}
    stage = Stage("evaluate", config, {**inputs, **judges.inputs(config.judge)})
    if (done := stage.finished()) is not None:
        return done
    suite = benchmark.read_suite(config.benchmark) if config.benchmark else []
    reward = load_reward(config.reward) if config.reward else None
    if isinstance(reward, RewardSet) and reward.relative:
        raise UserError(
            f"'{config.reward}' scores answers beside one another, so policies cannot be compared by it: "
            "evaluate with a reward model, or combine by weights"
        )
    alone = {"benchmark": benchmark.on_suite(reward, suite)} if reward and suite else {}
    if config.models:
        return stage.finish(**of_policies(config, stage, reward), **alone)
    stage.begin()
    return stage.finish(**alone)


def check(config: EvaluateConfig) -> None:
    """Raise a UserError where there is nothing to measure, or half of what it takes."""
    if not config.models and not config.benchmark:
        raise UserError(
            "there is nothing to evaluate: give models.NAME=DIR and prompts=FILE, or reward=DIR and benchmark=FILE"
        )
    if bool(config.models) != bool(config.prompts):
        raise UserError("models answer prompts: give both models.NAME=DIR and prompts=FILE")
    if config.benchmark and not config.reward:
        raise UserError("benchmark is what a reward is measured on: add reward=DIR")
    if strangers := sorted(config.conditions.keys() - config.models.keys()):
        raise UserError(f"conditions.{strangers[0]} is of no model: name one of {', '.join(config.models)}")


def of_policies(config: EvaluateConfig, stage: Stage, reward: Scorer | None) -> dict[str, Any]:
    """What the models answer, written, measured and compared with the first of them."""
    assert config.prompts is not None
    baseline = next(iter(config.models))
    reference = Policy.load(config.models[baseline])
    fitting = reference.fitting(read_prompts(config.prompts), config.max_completion_length)
    prompts = fitting[: config.max_prompts]
    dialogues = read_conversations(config.heldout) if config.heldout else []
    judge = judges.find(config.judge) if config.judge else None
    told = told_apart(reference, config)
    before = answers_logp(reference.model, told)
    tables: dict[str, dict[str, Table]] = {}
    texts: dict[str, dict[str, list[str]]] = {}
    alone: dict[str, dict[str, Any]] = {}
    with terminal.progress("evaluate", len(config.models)) as advance:
        for number, (name, source) in enumerate(config.models.items(), 1):
            policy = Policy.load(source)
            if name in config.conditions:
                conditions.ask(policy.tokenizer, config.conditions[name])
            alone[name] = {"heldout_perplexity": held_out_perplexity(policy, dialogues, config.max_length)}
            if told and name != baseline:
                alone[name]["heldout_agreement"] = siding(answers_logp(policy.model, told), before, told)
            tables[name], texts[name] = {}, {}
            for mode, temperature in MODES.items():
                how = Sampling(config.max_completion_length, temperature)
                answered = policy.answer(prompts, how, seed=(config.seed, "evaluate"), slots=config.slots)
                texts[name][mode] = [a.texts[0] for a in answered]
                tables[name][mode] = measured(prompts, answered, judge, reward)
                if temperature:
                    tables[name][mode]["kl"] = policy.kl(answered, reference.model)
            advance(number, name)
    stage.begin()
    write_answers(stage.folder / "answers.jsonl", prompts, texts, tables)
    figures = {
        name: {
            **alone[name],
            **{mode: compare(prompts, tables[name][mode], tables[baseline][mode]) for mode in MODES},
        }
        for name in tables
    }
    return {
        "baseline": baseline,
        "prompts": len(prompts),
        "judge": config.judge,
        "figures": figures,
        "promoted": promoted(figures, baseline),
    }


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    parts = []
    for name, figure in result.get("figures", {}).items():
        rate = figure["sampled"].get("win_rate/judge/total") or figure["sampled"].get("win_rate/reward")
        if rate:
            parts.append(f"{name} wins {rate['value']:.1%} [{rate['low']:.1%}, {rate['high']:.1%}]")
    if found := result.get("benchmark"):
        right = found["accuracy"]
        parts.append(f"the reward is right on {right['value']:.1%} of {right['n']} benchmark items")
    return "; ".join([*parts, *([f"promoted: {result['promoted']}"] if "promoted" in result else [])])


def held_out_perplexity(policy: Policy, dialogues: Sequence[Conversation], max_length: int) -> float | None:
    """Perplexity of the answers in held-out dialogues."""
    if not dialogues:
        return None
    trees, _ = conversations(policy.tokenizer, dialogues, max_length)
    return math.exp(means(policy.model, trees, {"loss": next_token})["loss"])


def told_apart(reference: Policy, config: EvaluateConfig) -> list[Tree]:
    """The judgements that fit, a tree a prompt."""
    if config.judgements is None:
        return []
    return compared(reference.tokenizer, read_preferences(config.judgements), config.max_length).trees


def measured(
    prompts: Sequence[Prompt], answered: Sequence[Answered], judge: Judge | None, reward: Scorer | None
) -> Table:
    """One value an answer for everything that can be measured on it."""
    texts = [a.texts[0] for a in answered]
    table: Table = {
        "length": [float(len(a.samples[0].ids)) for a in answered],
        "stopped": [float(a.samples[0].finished) for a in answered],
        "repetition": [repetition(a.samples[0].ids.tolist()) for a in answered],
        "distinct": distinct([a.samples[0].ids.tolist() for a in answered], [p.task for p in prompts]),
    }
    if judge is not None:
        grades = judge(prompts, texts)
        criteria = dict.fromkeys(c for g in grades for c in g)
        table |= {f"judge/{c}": [g.get(c, math.nan) for g in grades] for c in criteria}
    if reward is not None:
        table["reward"] = [row[0] for row in reward.scores(prompts, [[t] for t in texts])]
    return table


def repetition(ids: Sequence[int], n: int = 4) -> float:
    """The share of n-grams of tokens that stood in the answer before (Welleck et al. 2020, seq-rep-n)."""
    grams = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def compare(prompts: Sequence[Prompt], table: Table, baseline: Table) -> dict[str, Any]:
    """Means of every measure, and win rates against the baseline, over all prompts and per task."""
    figures: dict[str, Any] = {name: mean(values) for name, values in table.items()}
    for measure in ("judge/total", "reward"):
        if measure not in table or table is baseline:
            continue
        gap = np.asarray(table[measure]) - np.asarray(baseline[measure])
        figures[f"win_rate/{measure}"] = win_rate(gap)
        tasks = sorted({p.task for p in prompts})
        for task in tasks if len(tasks) > 1 else ():
            rows = np.asarray([p.task == task for p in prompts])
            figures[f"win_rate/{measure}/{task}"] = win_rate(gap[rows])
    return figures


def mean(values: Column) -> dict[str, Any]:
    """The mean with its interval; a criterion that does not apply to an answer is NaN there and left out."""
    return as_figure(intervals.mean_interval([v for v in values if not math.isnan(v)]))


def win_rate(gap: NDArray[np.float64]) -> dict[str, Any]:
    """Share of prompts won, ties as half and shown, with a 95 % interval over prompts."""
    wins, losses = gap > EQUAL, gap < -EQUAL
    ties = ~wins & ~losses
    found = intervals.win_rate(wins, ties, losses)
    return as_figure(found.rate) | {"ties": float(ties.mean())}


def as_figure(estimate: Estimate) -> dict[str, Any]:
    """The form that figures have in summary.json."""
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def promoted(figures: Mapping[str, Any], baseline: str) -> str:
    """The policy with the highest win rate whose interval lies above one half, else the baseline."""
    best, name = 0.5, baseline
    for candidate, figure in figures.items():
        sampled = figure["sampled"]
        rate = sampled.get("win_rate/judge/total") or sampled.get("win_rate/reward")
        if rate and rate["low"] > 0.5 and rate["value"] > best:
            best, name = rate["value"], candidate
    return name


def write_answers(
    path: Path,
    prompts: Sequence[Prompt],
    texts: Mapping[str, Mapping[str, list[str]]],
    tables: Mapping[str, Mapping[str, Table]],
) -> None:
    """What every policy said, with its grades, for the report and for people."""
    rows = []
    for i, prompt in enumerate(prompts):
        answers = {
            name: {
                mode: {"text": found[mode][i]}
                | {k: v[i] for k, v in tables[name][mode].items() if not math.isnan(v[i])}
                for mode in found
            }
            for name, found in texts.items()
        }
        asked = messages_row(prompt.messages)
        rows.append({"id": prompt.id, "task": prompt.task, "messages": asked, "answers": answers})
    files.write_jsonl(path, rows)
