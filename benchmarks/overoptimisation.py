"""Gold reward against the root of KL: best of n, and RL, under reward models of three sizes.

    python benchmarks/overoptimisation.py RUN [RUN ...] [--output FOLDER] [--iterations 40] [--only best_of_n]

RUN is the folder of a demo that got as far as its judgements. The sizes are of training data, the body's is
the same: a reward model that saw 150, 600 or all prompts of the run's judgements. Gains are the gold judge's above
the SFT model's answers, in deviations over these; d is the root of the KL in nats. Points go to points.jsonl, the
fitted laws of Gao et al. 2022 with 95 % intervals to fits.json.
"""

import argparse
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from heedful.data.formats import read_preferences, read_prompts, write_preferences
from heedful.engine import process
from heedful.engine.policy import Policy
from heedful.engine.reward_model import RewardModel
from heedful.engine.sampling import Sampling
from heedful.stages import reward, rl
from heedful.stats.overoptimisation import best_of, fit_law, kl_bound
from heedful.tasks.judge import find_judge

SIZES = (150, 600, 3000)
LENGTH = 48


def scorer(run: Path, size: int, output: Path) -> str:
    """A reward model trained on the judgements of `size` prompts; where it is."""
    folder = output / f"{run.name}-reward-{size}"
    preferences = read_preferences(run / "round-1" / "feedback" / "preferences.jsonl")
    asked = list(dict.fromkeys(p.messages for p in preferences))
    if size >= len(asked):
        return str(run / "round-1" / "reward" / "model")
    kept = set(asked[:size])
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "preferences.jsonl"
    write_preferences(data, [p for p in preferences if p.messages in kept])
    values = {
        "head": "likelihood",
        "epochs": 2,
        "learning_rate": 1e-3,
        "weight_decay": 1.0,
        "tokens_per_step": 2048,
    }
    place = folder / "reward"
    reward.main(reward.RewardConfig(output=place, model=str(run / "sft" / "model"), data=data, **values))
    return str(place / "model")


def best_of_n(
    run: Path, source: str, answered: Any, gold: Any, asked: Any
) -> Iterator[tuple[float, float, float]]:
    """(d, gain in gold, gain in proxy) for n = 2, 4, ..., in deviations of each."""
    proxy = np.asarray(RewardModel.load(source).scores(asked, [a.texts for a in answered]))
    n = 2
    while n <= proxy.shape[1]:
        gains = [(best_of(proxy, x, n).mean() - x.mean()) / x.std() for x in (gold, proxy)]
        yield kl_bound(n) ** 0.5, float(gains[0]), float(gains[1])
        n *= 2


def by_rl(
    run: Path, source: str, size: int, output: Path, iterations: int, asked: Any, gold: Any, seed: int
) -> Iterator[tuple[float, float, float]]:
    """The same for PPO without a penalty, after each of five parts of its training; a part starts where one ended."""
    judge, policy, reference = (
        find_judge("world"),
        str(run / "sft" / "model"),
        Policy.load(run / "sft" / "model"),
    )
    model = RewardModel.load(source)
    flat = [p for p in asked for _ in range(2)]
    for part in range(5):
        place = output / f"{run.name}-rl-{size}-{part}"
        values = {"kl_coef": 0.0, "kl_target": None, "num_ppo_epochs": 1, "prompts_per_step": 16, "warmup": 1}
        rl.main(
            rl.RlConfig(
                output=place,
                model=policy,
                reward=source,
                prompts=run / "world" / "prompts.jsonl",
                iterations=iterations // 5,
                max_completion_length=LENGTH,
                seed=seed + part,
                **values,
            )
        )
        policy = str(place / "model")
        newest = Policy.load(policy)
        answered = newest.answer(asked, Sampling(LENGTH), seed=(seed, "curve"), n=2)
        kl = float(np.mean(newest.kl(answered, reference.model)))
        texts = [t for a in answered for t in a.texts]
        earned = np.mean([g["total"] for g in judge(flat, texts)])
        liked = np.mean(model.scores(asked, [a.texts for a in answered]))
        yield max(kl, 0.0) ** 0.5, float((earned - gold.mean()) / gold.std()), float(liked)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, default=Path("runs/overoptimisation"))
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--answers", type=int, default=64)
    parser.add_argument("--only", choices=("best_of_n", "rl"), default=None)
    given = parser.parse_args()
    process.prepare()
    given.output.mkdir(parents=True, exist_ok=True)
    points: list[dict[str, Any]] = []
    with (given.output / "points.jsonl").open("a") as file:
        for run in given.runs:
            for point in measured(run, given):
                points.append(point)
                file.write(json.dumps(point) + "\n")
                file.flush()
                print(point, flush=True)
    fits = {}
    for law in ("best_of_n", "rl"):
        for size in SIZES:
            mine = [p for p in points if p["law"] == law and p["size"] == size]
            if len([p for p in mine if p["d"] > 0]) >= 3:
                found = fit_law([p["d"] for p in mine], [p["gold"] for p in mine], law)
                fits[f"{law}/{size}"] = dataclasses.asdict(found)
    (given.output / "fits.json").write_text(json.dumps(fits, indent=1) + "\n")
    print(json.dumps(fits, indent=1))


def measured(run: Path, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every point of a run."""
    seed = int(json.loads((run / "run.json").read_text())["seed"])
    policy, judge = Policy.load(run / "sft" / "model"), find_judge("world")
    asked = policy.fitting(read_prompts(run / "world" / "test_prompts.jsonl"), LENGTH)[: given.prompts]
    answered = policy.answer(asked, Sampling(LENGTH), seed=(seed, "curve"), n=given.answers)
    gold = np.asarray(
        [
            [g["total"] for g in judge([p] * len(a.texts), a.texts)]
            for p, a in zip(asked, answered, strict=True)
        ]
    )
    for size in SIZES:
        source = scorer(run, size, given.output)
        ways = {
            "best_of_n": lambda source=source: best_of_n(run, source, answered, gold, asked),
            "rl": lambda source=source, size=size: by_rl(
                run, source, size, given.output, given.iterations, asked, gold, seed
            ),
        }
        for law, way in ways.items():
            if given.only in (None, law):
                for d, earned, liked in way():
                    yield {"run": run.name, "law": law, "size": size, "d": d, "gold": earned, "proxy": liked}


if __name__ == "__main__":
    main()
