"""Process reward models on the built-in world: labels of steps from rollouts, reranking, and rewards a step in RL.

    python benchmarks/process_reward.py RUN [RUN ...] [--prompts 300] [--test 100] [--out FILE]

RUN is the folder of a demo that got as far as its reward model. A step is a sentence; an answer is right if the gold
judge finds its fact true (questions) or gives it more than one half (stories). The SFT model answers each prompt once,
and every sentence is labelled by the share of four continuations that come out right (Math-Shepherd). Beside that
process model stand an outcome model, which learns from the same answers whether the whole is right, and the run's
reward model, which learnt from all its comparisons. Reranking reads best of n off 16 answers without drawing; PPO is
given the process model's score of the whole, a reward a step, or the outcome model's score. Writes
benchmarks/process_reward.json, and does not do again what is there; prints Markdown.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from preference import Field
from tables import Cells, over_prompts, over_seeds, rows, seed_of, shown

from heedful.data.formats import read_prompts
from heedful.data.solutions import read_solutions, step_texts, write_solutions
from heedful.engine import process
from heedful.engine.policy import Policy
from heedful.engine.process_reward import ProcessRewardModel, whole
from heedful.engine.reward_model import RewardModel
from heedful.engine.sampling import Sampling
from heedful.engine.step_labels import right
from heedful.stages import reward, rl
from heedful.stats.intervals import mean_interval
from heedful.stats.overoptimisation import best_of
from heedful.tasks import judge
from heedful.types import Solution

TASKS = ("write", "continue", "question")
STEP = ". "
LENGTH = 48
LABELS = {"objective": "process", "step_separator": STEP, "tokens_per_step": 2048, "learning_rate": 1e-3}


def solved(run: Path, n: int, seed: int, folder: Path) -> Path:
    """One answer of the SFT model to each of `n` prompts, cut into sentences."""
    policy = Policy.load(run / "sft" / "model")
    prompts = [p for p in read_prompts(run / "world" / "prompts.jsonl") if p.task in TASKS]
    asked = policy.fitting(prompts, 2 * LENGTH)[:n]
    answered = policy.answer(asked, Sampling(LENGTH), seed=(seed, "solutions"))
    steps = [step_texts(a.texts[0], STEP) for a in answered]
    given = [Solution(p.messages, s) for p, s in zip(asked, steps, strict=True) if s]
    write_solutions(folder / "answers.jsonl", given)
    return folder / "answers.jsonl"


def outcomes(run: Path, data: Path, folder: Path) -> Path:
    """The same answers with a label at their last sentence alone: whether the whole is right."""
    prompts = {p.messages: p for p in read_prompts(run / "world" / "prompts.jsonl")}
    given = read_solutions(data)
    found = right(judge.gold, [prompts[s.messages] for s in given], [STEP.join(s.steps) for s in given])
    told = [
        Solution(s.messages, s.steps, (), (*[None] * (len(s.steps) - 1), x))
        for s, x in zip(given, found, strict=True)
    ]
    write_solutions(folder / "outcomes.jsonl", told)
    return folder / "outcomes.jsonl"


def reranked(field: Field, proxies: dict[str, list[list[float]]], texts: list[list[str]]) -> dict[str, Any]:
    """Of each way to choose, what the best of 4 and of 16 answers earn, and how often they are right."""
    flat = [p for p, row in zip(field.prompts, texts, strict=True) for _ in row]
    every = [t for row in texts for t in row]
    total = np.asarray([g["total"] for g in judge.gold(flat, every)]).reshape(len(texts), -1)
    correct = np.asarray(right(judge.gold, flat, every)).reshape(len(texts), -1)
    ways = {**{name: np.asarray(x) for name, x in proxies.items()}, "the gold judge": total}
    found = {"one answer": {"gold": mean(total.mean(1)), "right": mean(correct.mean(1))}}
    for name, proxy in ways.items():
        for n in (4, 16):
            gold, share = best_of(proxy, total, n), best_of(proxy, correct, n)
            found[f"best of {n} by {name}"] = {"gold": mean(gold), "right": mean(share)}
    return found


def mean(values: Any) -> dict[str, Any]:
    found = mean_interval(values)
    return {"value": found.value, "low": found.low, "high": found.high}


def measure(run: Path, cells: Cells, n: int, test: int, work: Path) -> None:
    """What is missing of one run."""
    seed, start, folder = seed_of(run), str(run / "sft" / "model"), work / run.name
    folder.mkdir(parents=True, exist_ok=True)
    prompts = run / "world" / "prompts.jsonl"
    data = solved(run, n, seed, folder)
    more = {"rollouts": 4, "judge": "world", "prompts": prompts, "max_completion_length": LENGTH}
    trained = {
        "process": reward.RewardConfig(
            output=folder / "process", model=start, data=data, seed=seed, **LABELS, **more
        ),
        "outcome": reward.RewardConfig(
            output=folder / "outcome", model=start, data=outcomes(run, data, folder), seed=seed, **LABELS
        ),
    }
    done = cells.read().get(run.name, {})
    for name, config in trained.items():
        found = reward.main(config)
        if name not in done:
            cells.put(run.name, name, {k: v for k, v in found.items() if k != "calibration"})
    field = Field(start, run, 3 * test, seed)
    kept = [i for i, p in enumerate(field.prompts) if p.task in TASKS][:test]
    field.prompts = [field.prompts[i] for i in kept]
    field.baseline = {name: [column[i] for i in kept] for name, column in field.baseline.items()}
    if "reranking" not in done:
        cells.put(run.name, "reranking", reranking(run, field, folder, seed))
    places = {name: folder / name / "model" for name in trained}
    for name, source, steps in (
        ("PPO, a reward a step", places["process"], True),
        ("PPO, the whole by the process model", places["process"], False),
        ("PPO, the whole by the outcome model", places["outcome"], False),
    ):
        if name not in done:
            place = folder / name.replace(" ", "-").replace(",", "")
            cells.put(run.name, name, by_rl(start, source, prompts, place, seed, steps, field))


def reranking(run: Path, field: Field, folder: Path, seed: int) -> dict[str, Any]:
    """Sixteen answers a prompt, chosen from by every model."""
    answered = field.reference.answer(field.prompts, Sampling(LENGTH), seed=(seed, "rerank"), n=16)
    texts = [a.texts for a in answered]
    proxies: dict[str, list[list[float]]] = {}
    steps = ProcessRewardModel.load(folder / "process" / "model").steps(field.prompts, texts)
    for how in ("product", "minimum", "last"):
        scored = [[whole([s.probability for s in answer], how) for answer in row] for row in steps]
        proxies[f"the process model, {how}"] = scored
    ends = ProcessRewardModel.load(folder / "outcome" / "model").steps(field.prompts, texts)
    proxies["the outcome model"] = [[whole([s.probability for s in a], "last") for a in row] for row in ends]
    proxies["the reward model"] = RewardModel.load(run / "round-1" / "reward" / "model").scores(
        field.prompts, texts
    )
    return reranked(field, proxies, texts)


def by_rl(
    start: str, source: Path, prompts: Path, place: Path, seed: int, steps: bool, field: Field
) -> dict[str, Any]:
    """PPO on the tasks that have steps; the policy's figures."""
    config = rl.RlConfig(
        output=place,
        model=start,
        reward=str(source),
        prompts=with_steps(prompts, place.parent),
        algorithm="ppo_clip",
        iterations=12,
        prompts_per_step=16,
        num_ppo_epochs=1,
        max_completion_length=LENGTH,
        critic="policy",
        step_rewards=steps,
        seed=seed,
        resume=False,
    )
    rl.main(config)
    return field.figures(place / "model")


def with_steps(prompts: Path, folder: Path) -> Path:
    """The prompts of the tasks that have steps, as a file."""
    path = folder / "prompts.jsonl"
    lines = prompts.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if json.loads(line)["task"] in TASKS))
    return path


def tables(cells: Cells, runs: Sequence[str]) -> Iterator[str]:
    """Steps, reranking, RL."""
    process_model, outcome = cells.having("process", runs), cells.having("outcome", runs)
    if process_model:
        lines = []
        for name, found in (("process", process_model), ("outcome", outcome)):
            line = [name, str(sum(f["heldout_steps"] for f in found))]
            line.append(shown(over_seeds([f["right_steps"] for f in found])))
            line += [shown(over_prompts([f[key] for f in found])) for key in ("step_accuracy", "step_auc")]
            lines.append(line)
        yield from rows(["model", "held-out labels", "of them right", "accuracy", "AUC"], lines)
    found = cells.having("reranking", runs)
    if found:
        lines = [
            [way, *(shown(over_prompts([f[way][key] for f in found])) for key in ("gold", "right"))]
            for way in found[0]
            if isinstance(found[0][way], dict)
        ]
        yield from ["", *rows(["chosen", "gold grade", "right"], lines)]
    lines = []
    for name in dict.fromkeys(name for run in cells.read().values() for name in run if "PPO" in name):
        some = cells.having(name, runs)
        keys = ("win_rate", "judge/total", "kl", "length")
        lines.append([name, *(shown(over_prompts([c[key] for c in some])) for key in keys)])
    yield from ["", *rows(["policy", "win rate against SFT", "gold grade", "KL, nats", "length"], lines)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--work", type=Path, default=Path("runs/process_reward"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    process.prepare()
    cells = Cells(args.out)
    for run in args.runs:
        measure(run, cells, args.prompts, args.test, args.work)
    print("\n".join(tables(cells, list(cells.read()))))


if __name__ == "__main__":
    main()
