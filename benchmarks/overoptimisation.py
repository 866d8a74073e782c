"""Gold reward against the root of KL, and the text that PPO forgets on the way.

    python benchmarks/overoptimisation.py RUN [RUN ...] [--output FOLDER] [--only best_of_n,ppo,ppo_ptx]
        [--show]

RUN is the folder of a demo that got as far as its reward model (`heedful demo skip=[rl,prefer]`), one a seed. Reward
models differ in their data (the judgements of 50, 300 or all prompts, with all four layers of the SFT model) or in
their parameters (all prompts, with its first layer, its first two or all, fine-tuned for another pass). Best of n is
read off one pool of answers for every n and every reward model, without drawing; PPO has no KL penalty and is measured
on its way; PPO-ptx is the same with the gradient of pretraining text beside it, `ppo_long` and `ppo_ptx_long` the same
for longer. Gains are the gold judge's above the SFT model's answers, in deviations over these; d is the root of the KL
in nats.

Points go to points.jsonl, a way (PPO under one reward model, say) at once when it is done; what is there is not done
again. `--show` prints the tables and draws the plots of what is there (overoptimisation_shown.py).
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, cast

import numpy as np
from overoptimisation_shown import LAYERS, PTX, SIZES, show
from tables import commit, seed_of

from heedful.data.formats import read_preferences, read_prompts, read_texts, write_preferences
from heedful.engine import process
from heedful.engine.dialogues import documents
from heedful.engine.policy import Policy
from heedful.engine.reward_model import RewardModel
from heedful.engine.rollout import Rollouts
from heedful.engine.sampling import Sampling
from heedful.engine.score import use_packed_attention
from heedful.engine.stage import Stage
from heedful.engine.train import means
from heedful.losses.supervised import next_token
from heedful.nn import hub
from heedful.stages import reward, rl, sft
from heedful.stats.overoptimisation import best_of, kl_bound
from heedful.tasks.judge import find_judge

LENGTH = 48
MEASURED = (2, 4, 8, 16, 24)
WAYS = ("best_of_n", "ppo", "ppo_ptx", "ppo_long", "ppo_ptx_long")
LONG = (8, 16, 32, 64, 96, 128)


class Field:
    """The test prompts of a run, a pool of the SFT model's answers to them, and what the gold judge says of it."""

    def __init__(self, run: Path, output: Path, prompts: int, answers: int) -> None:
        self.run, self.output, self.seed = run, output, seed_of(run)
        self.model = str(run / "sft" / "model")
        self.judge = find_judge("world")
        self.sft = Policy.load(self.model)
        self.asked = self.sft.fitting(read_prompts(run / "world" / "test_prompts.jsonl"), LENGTH)[:prompts]
        self.texts = documents(self.sft.tokenizer, read_texts(run / "world" / "heldout_text.jsonl")[:60], 256)
        self.pool = self._pool(answers)
        self.gold = self._grades()

    def _pool(self, answers: int) -> list[list[str]]:
        path = self.output / f"{self.run.name}-pool.json"
        if not path.exists():
            drawn = self.sft.answer(self.asked, Sampling(LENGTH), seed=(self.seed, "curve"), n=answers)
            path.write_text(json.dumps([a.texts for a in drawn]))
        return cast(list[list[str]], json.loads(path.read_text()))

    def _grades(self) -> Any:
        path = self.output / f"{self.run.name}-gold.json"
        if not path.exists():
            grades = [self.totals([p] * len(a), a) for p, a in zip(self.asked, self.pool, strict=True)]
            path.write_text(json.dumps(grades))
        return np.asarray(json.loads(path.read_text()))

    def totals(self, prompts: Sequence[Any], texts: Sequence[str]) -> list[float]:
        return [g["total"] for g in self.judge(prompts, texts)]

    def perplexity(self, model: Any) -> float:
        """Of held-out pretraining text."""
        return math.exp(means(model, self.texts, {"loss": next_token})["loss"])

    def body(self, layers: int) -> str:
        """The first layers of the SFT model, fine-tuned for another pass so that they can do without the rest."""
        if layers == LAYERS[-1]:
            return self.model
        told = json.loads((self.run / "run.json").read_text())["config"]["sft"]
        folder = self.output / f"{self.run.name}-body-{layers}"
        cut = hub.load_model(self.model)
        cut.model.layers = cut.model.layers[:layers]
        cut.config.num_hidden_layers = layers
        hub.save_model(folder / "cut", cut, self.sft.tokenizer)
        shown = self.run / "world" / "demonstrations.jsonl"
        values: dict[str, Any] = {**told, "epochs": 1, "data": shown, "seed": self.seed}
        sft.main(sft.SftConfig(output=folder / "sft", model=str(folder / "cut"), **values))
        return str(folder / "sft" / "model")

    def scorer(self, size: int, layers: int) -> str:
        """A reward model of so many layers trained on the judgements of `size` prompts; where it is."""
        preferences = read_preferences(self.run / "round-1" / "feedback" / "preferences.jsonl")
        asked = list(dict.fromkeys(p.messages for p in preferences))
        if size >= len(asked) and layers == LAYERS[-1]:
            return str(self.run / "round-1" / "reward" / "model")
        kept = set(asked[:size])
        folder = self.output / f"{self.run.name}-reward-{size}-{layers}"
        folder.mkdir(parents=True, exist_ok=True)
        data = folder / "preferences.jsonl"
        write_preferences(data, [p for p in preferences if p.messages in kept])
        values: dict[str, Any] = {
            "head": "likelihood",
            "epochs": 2,
            "learning_rate": 1e-3,
            "weight_decay": 1.0,
            "tokens_per_step": 2048,
        }
        reward.main(
            reward.RewardConfig(output=folder / "reward", model=self.body(layers), data=data, **values)
        )
        return str(folder / "reward" / "model")


def best_of_n(field: Field, source: str) -> Iterator[dict[str, float]]:
    """Best of 2, 4, ... answers; its KL is the bound."""
    proxy = np.asarray(RewardModel.load(source).scores(field.asked, field.pool))
    n = 2
    while n <= proxy.shape[1]:
        gains = [(best_of(proxy, x, n).mean() - x.mean()) / x.std() for x in (field.gold, proxy)]
        yield {"n": n, "d": kl_bound(n) ** 0.5, "gold": float(gains[0]), "proxy": float(gains[1])}
        n *= 2


def ppo(
    field: Field, source: str, coefficient: float, folder: Path, measured_at: Sequence[int]
) -> Iterator[dict[str, float]]:
    """PPO without a KL penalty, measured after each of these iterations; with pretraining gradients or without."""
    texts = {"ptx": field.run / "world" / "text.jsonl", "ptx_coef": coefficient, "ptx_ratio": 0.25}
    values: dict[str, Any] = {
        "algorithm": "ppo_ptx" if coefficient else "ppo_clip",
        "iterations": measured_at[-1],
        "prompts_per_step": 16,
        "num_generations": 4,
        "num_ppo_epochs": 1,
        "kl_coef": 0.0,
        "kl_target": None,
        "max_completion_length": LENGTH,
        **(texts if coefficient else {}),
    }
    prompts = field.run / "world" / "prompts.jsonl"
    config = rl.RlConfig(
        output=folder,
        model=field.model,
        reward=source,
        prompts=prompts,
        seed=field.seed,
        resume=False,
        **values,
    )
    actor, scorer = hub.load_model(config.model), RewardModel.load(source)
    model = rl.with_critic(actor, config)
    use_packed_attention(model)
    policy = Policy(actor, field.sft.tokenizer)
    rollouts = Rollouts(
        model=model,
        policy=policy,
        reference=field.sft.model,
        reward=scorer,
        prompts=rl.asked(config, policy, scorer),
        settings=rl.settings(config),
        kl_coef=0.0,
    )
    trees = documents(policy.tokenizer, read_texts(config.ptx), config.max_length) if config.ptx else []
    for _ in rl.steps(Stage("rl", config, {}), config, model, rollouts, trees):
        if rollouts.ended and rollouts.iterations_done in measured_at:
            yield {"iterations": rollouts.iterations_done, **measured(field, policy, scorer)}


def measured(field: Field, policy: Policy, scorer: RewardModel) -> dict[str, float]:
    """Where a policy stands: two answers to each test prompt."""
    answered = policy.answer(field.asked, Sampling(LENGTH), seed=(field.seed, "curve"), n=2)
    texts = [t for a in answered for t in a.texts]
    earned = field.totals([p for p in field.asked for _ in range(2)], texts)
    kl = float(np.mean(policy.kl(answered, field.sft.model)))
    return {
        "d": max(kl, 0.0) ** 0.5,
        "kl": kl,
        "gold": float((np.mean(earned) - field.gold.mean()) / field.gold.std()),
        "proxy": float(np.mean(scorer.scores(field.asked, [a.texts for a in answered]))),
        "perplexity": field.perplexity(policy.model),
    }


def ways(only: Sequence[str]) -> Iterator[tuple[str, int, int, float]]:
    """What is measured, in this order: way, prompts and layers of the reward model, coefficient of pretraining text."""
    most, whole = SIZES[-1], LAYERS[-1]
    every = [("best_of_n", size, whole, 0.0) for size in SIZES]
    every += [("best_of_n", most, layers, 0.0) for layers in LAYERS[:-1]]
    every += [("ppo", most, whole, 0.0), *(("ppo_ptx", most, whole, coefficient) for coefficient in PTX)]
    every += [("ppo", size, whole, 0.0) for size in SIZES[:-1]]
    every += [("ppo_long", most, layers, 0.0) for layers in LAYERS]
    every += [("ppo_ptx_long", most, whole, coefficient) for coefficient in PTX]
    return (way for way in every if way[0] in only)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--output", type=Path, default=Path("runs/overoptimisation"))
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(WAYS))
    parser.add_argument("--prompts", type=int, default=150)
    parser.add_argument("--answers", type=int, default=64)
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    process.prepare()
    given.output.mkdir(parents=True, exist_ok=True)
    path = given.output / "points.jsonl"
    points = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(p["run"], p["way"], p["size"], p["layers"], p["ptx"]) for p in points}
    field = cache(lambda run: Field(run, given.output, given.prompts, given.answers))
    for (way, size, layers, coefficient), run in product(ways(given.only), given.runs):
        if (run.name, way, size, layers, coefficient) in done:
            continue
        source = field(run).scorer(size, layers)
        if way == "best_of_n":
            found = best_of_n(field(run), source)
        else:
            place = given.output / f"{run.name}-{way}-{size}-{layers}-{coefficient:g}"
            found = ppo(field(run), source, coefficient, place, LONG if way.endswith("_long") else MEASURED)
        head = {"run": run.name, "way": way, "size": size, "layers": layers, "ptx": coefficient}
        head["commit"] = commit()
        new = [{**head, **point} for point in found]
        points += new
        with path.open("a") as file:
            file.writelines(json.dumps(point) + "\n" for point in new)
        print(new[-1], flush=True)
    if given.show or not given.runs:
        show(points, given.output)


if __name__ == "__main__":
    main()
