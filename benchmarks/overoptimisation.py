"""Gold reward against the root of KL, and the text that PPO forgets on the way.

    python benchmarks/overoptimisation.py RUN [RUN ...] [--output FOLDER] [--only best_of_n,ppo,ppo_ptx] [--show]

RUN is the folder of a demo that got as far as its reward model (`heedful demo skip=[rl,prefer]`), one a seed. The
sizes are of training data, the body's is the same: a reward model that saw the judgements of 50, 300 or all prompts.
Best of n is read off one pool of answers for every n and every reward model, without drawing; PPO has no KL penalty
and is measured on its way; PPO-ptx is the same with the gradient of pretraining text beside it. Gains are the gold
judge's above the SFT model's answers, in deviations over these; d is the root of the KL in nats.

Points go to points.jsonl, a way (PPO under one reward model, say) at once when it is done; what is there is not done
again. `--show` prints the tables and draws the plots of what is there: Gao et al.'s laws fitted to each run by itself,
with 95 % intervals over the runs, and the perplexity of held-out text against the reward.
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise, product
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from tables import commit, over_seeds, rows, save_picture, seed_of, shown

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
from heedful.report.style import COLOURS, picture
from heedful.stages import reward, rl
from heedful.stats.overoptimisation import Law, best_of, fit_law, kl_bound
from heedful.tasks.judge import find_judge

SIZES = (50, 300, 3000)
LENGTH = 48
MEASURED = (2, 4, 8, 16, 24)
PTX = (0.05,)
LAWS: dict[str, Law] = {"best_of_n": "best_of_n", "ppo": "rl"}


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

    def scorer(self, size: int) -> str:
        """A reward model trained on the judgements of `size` prompts; where it is."""
        preferences = read_preferences(self.run / "round-1" / "feedback" / "preferences.jsonl")
        asked = list(dict.fromkeys(p.messages for p in preferences))
        if size >= len(asked):
            return str(self.run / "round-1" / "reward" / "model")
        kept = set(asked[:size])
        folder = self.output / f"{self.run.name}-reward-{size}"
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
        reward.main(reward.RewardConfig(output=folder / "reward", model=self.model, data=data, **values))
        return str(folder / "reward" / "model")


def best_of_n(field: Field, source: str) -> Iterator[dict[str, float]]:
    """Best of 2, 4, ... answers; its KL is the bound."""
    proxy = np.asarray(RewardModel.load(source).scores(field.asked, field.pool))
    n = 2
    while n <= proxy.shape[1]:
        gains = [(best_of(proxy, x, n).mean() - x.mean()) / x.std() for x in (field.gold, proxy)]
        yield {"n": n, "d": kl_bound(n) ** 0.5, "gold": float(gains[0]), "proxy": float(gains[1])}
        n *= 2


def ppo(field: Field, source: str, coefficient: float, folder: Path) -> Iterator[dict[str, float]]:
    """PPO without a KL penalty, measured after each of `MEASURED` iterations; with pretraining gradients or without."""
    texts = {"ptx": field.run / "world" / "text.jsonl", "ptx_coef": coefficient, "ptx_ratio": 0.25}
    values: dict[str, Any] = {
        "algorithm": "ppo_ptx" if coefficient else "ppo_clip",
        "iterations": MEASURED[-1],
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
        if rollouts.ended and rollouts.iterations_done in MEASURED:
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


def ways(only: Sequence[str]) -> Iterator[tuple[str, int, float]]:
    """What is measured, in this order: way, size of the reward model's data, coefficient of pretraining text."""
    every = [("best_of_n", size, 0.0) for size in SIZES]
    every += [("ppo", SIZES[-1], 0.0), *(("ppo_ptx", SIZES[-1], coefficient) for coefficient in PTX)]
    every += [("ppo", size, 0.0) for size in SIZES[:-1]]
    return (way for way in every if way[0] in only)


def fits(points: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The law of each way and size: fitted to every run for itself (intervals over runs), and to all points (R^2)."""
    found = {}
    for way, law in LAWS.items():
        for size in SIZES:
            mine = [p for p in points if p["way"] == way and p["size"] == size]
            runs = [[p for p in mine if p["run"] == run] for run in dict.fromkeys(p["run"] for p in mine)]
            if not runs:
                continue
            each = [fit_law([p["d"] for p in r], [p["gold"] for p in r], law) for r in runs]
            whole = fit_law([p["d"] for p in mine], [p["gold"] for p in mine], law)
            found[f"{way}/{size}"] = {
                "runs": len(runs),
                "points": whole.n,
                "alpha": over_seeds([f.alpha[0] for f in each]),
                "beta": over_seeds([f.beta[0] for f in each]),
                "r_squared": whole.r_squared,
                "r_squared_each": [f.r_squared for f in each],
                "peak": whole.peak,
                "fitted": [whole.alpha[0], whole.beta[0]],
                "furthest": max(p["d"] for p in mine),
            }
    return found


def law_plot(points: Sequence[dict[str, Any]], found: dict[str, dict[str, Any]], way: str) -> None:
    """Gold gain against d, a colour a reward model, with the fitted laws."""
    colours = dict(zip(SIZES, ("prefer", "ink", "rl"), strict=True))

    def draw(axes: Axes) -> None:
        for size, role in colours.items():
            mine = [p for p in points if p["way"] == way and p["size"] == size]
            if f"{way}/{size}" not in found:
                continue
            colour = COLOURS[role]
            axes.plot(
                [p["d"] for p in mine], [p["gold"] for p in mine], "o", color=colour, markersize=4, alpha=0.6
            )
            a, b = found[f"{way}/{size}"]["fitted"]
            d = np.linspace(0.01, max(p["d"] for p in mine), 100)
            curve = d * (a - b * (d if way == "best_of_n" else np.log(d)))
            axes.plot(d, curve, color=colour)
            name = "all" if size == SIZES[-1] else str(size)
            axes.annotate(f" {name}", (d[-1], curve[-1]), color=colour)
        axes.set_xlabel("root of KL, nats")
        axes.set_title("gold gain, deviations", loc="left", fontsize=11)
        axes.margins(x=0.12)

    alt = (
        f"Gold gain against the root of KL for {way} under reward models of three sizes, with the fitted laws"
    )
    save_picture(f"overoptimisation-{way}", picture(way, 260, draw, alt))


def text_plot(points: Sequence[dict[str, Any]]) -> None:
    """Perplexity of held-out text against the reward, PPO beside PPO-ptx; a line a run."""
    roles = {0.0: "prefer", **dict.fromkeys(PTX, "rl")}

    def draw(axes: Axes) -> None:
        for coefficient, role in roles.items():
            mine = [p for p in on_text(points) if p["ptx"] == coefficient]
            for number, run in enumerate(dict.fromkeys(p["run"] for p in mine)):
                own = [p for p in mine if p["run"] == run]
                x, y = [p["proxy"] for p in own], [p["perplexity"] for p in own]
                axes.plot(x, y, "o-", color=COLOURS[role], markersize=3, linewidth=1)
                if not number:
                    name = f"PPO-ptx {coefficient:g}" if coefficient else "PPO"
                    axes.annotate(f" {name}", (x[-1], y[-1]), color=COLOURS[role])
        axes.set_yscale("log")
        axes.set_yticks((2, 3, 5, 8, 12), ["2", "3", "5", "8", "12"])
        axes.minorticks_off()
        axes.set_xlabel("reward")
        axes.set_title("perplexity of held-out text", loc="left", fontsize=11)
        axes.margins(x=0.3)

    save_picture(
        "ptx", picture("ptx", 260, draw, "Perplexity of held-out text against reward, PPO and PPO-ptx")
    )


def on_text(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """PPO with and without pretraining text under the reward model that saw everything."""
    return [p for p in points if p["way"] != "best_of_n" and p["size"] == SIZES[-1]]


def at_reward(points: Sequence[dict[str, Any]], level: float) -> float | None:
    """The perplexity where a run's reward first passes `level`, between its points; None if it does not."""
    for one, other in pairwise(points):
        if one["proxy"] <= level <= other["proxy"]:
            part = (level - one["proxy"]) / max(other["proxy"] - one["proxy"], 1e-9)
            return float(one["perplexity"] + part * (other["perplexity"] - one["perplexity"]))
    return None


def text_table(points: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The perplexity of text at levels of reward (PPO-ptx also as a share of PPO's), and where each run ended."""
    levels = (0.6, 0.8, 1.0)
    heads = ["", *(f"perplexity at reward {level:+.1f}" for level in levels)]
    heads += ["at the end: reward", "perplexity", "gold gain", "KL"]
    every = on_text(points)
    names = list(dict.fromkeys(p["run"] for p in every))

    def of(coefficient: float, run: str) -> list[dict[str, Any]]:
        return [p for p in every if p["ptx"] == coefficient and p["run"] == run]

    lines = []
    for coefficient in (0.0, *PTX):
        line = [f"PPO-ptx, {coefficient:g}" if coefficient else "PPO"]
        for level in levels:
            found = {run: at_reward(of(coefficient, run), level) for run in names}
            base = {run: at_reward(of(0.0, run), level) for run in names}
            reached = [run for run in names if found[run] is not None and base[run] is not None]
            cell = " / ".join("-" if found[run] is None else f"{found[run]:.2f}" for run in names)
            if coefficient and len(reached) > 1:
                shares = over_seeds([math.log(found[run] / base[run]) for run in reached])  # type: ignore[operator]
                cell += f"; {shown({k: math.exp(v) for k, v in shares.items() if v is not None}, '{:.2f}')} of PPO's"
            line.append(cell)
        ends = [of(coefficient, run)[-1] for run in names if of(coefficient, run)]
        for key in ("proxy", "perplexity", "gold", "kl"):
            line.append(" / ".join(f"{p[key]:.2f}" for p in ends))
        lines.append(line)
    yield from rows(heads, lines)


def show(points: Sequence[dict[str, Any]], output: Path) -> None:
    """Fit, draw and print."""
    found = fits(points)
    (output / "fits.json").write_text(json.dumps(found, indent=1) + "\n")
    lines = []
    for name, fit in found.items():
        way, size = name.split("/")
        peak = "never" if fit["peak"] is None else f"{fit['peak']:.1f}"
        lines.append(
            [
                way,
                size,
                str(fit["points"]),
                shown(fit["alpha"]),
                shown(fit["beta"]),
                f"{fit['r_squared']:.3f}",
                ", ".join(f"{r:.3f}" for r in fit["r_squared_each"]),
                peak,
                f"{fit['furthest']:.1f}",
            ]
        )
    heads = ["way", "prompts judged", "points", "a", "b", "R^2", "R^2 of each run", "peak at d", "furthest d"]
    print("\n".join(rows(heads, lines)), end="\n\n")
    print("\n".join(text_table(points)))
    for way in LAWS:
        law_plot(points, found, way)
    text_plot(points)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--output", type=Path, default=Path("runs/overoptimisation"))
    parser.add_argument("--only", type=lambda text: text.split(","), default=["best_of_n", "ppo", "ppo_ptx"])
    parser.add_argument("--prompts", type=int, default=150)
    parser.add_argument("--answers", type=int, default=64)
    parser.add_argument("--show", action="store_true")
    given = parser.parse_args()
    process.prepare()
    given.output.mkdir(parents=True, exist_ok=True)
    path = given.output / "points.jsonl"
    points = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(p["run"], p["way"], p["size"], p["ptx"]) for p in points}
    field = cache(lambda run: Field(run, given.output, given.prompts, given.answers))
    for (way, size, coefficient), run in product(ways(given.only), given.runs):
        if (run.name, way, size, coefficient) in done:
            continue
        source, place = field(run).scorer(size), given.output / f"{run.name}-{way}-{size}-{coefficient:g}"
        found = (
            best_of_n(field(run), source)
            if way == "best_of_n"
            else ppo(field(run), source, coefficient, place)
        )
        head = {"run": run.name, "way": way, "size": size, "ptx": coefficient, "commit": commit()}
        new = [{**head, **point} for point in found]
        points += new
        with path.open("a") as file:
            file.writelines(json.dumps(point) + "\n" for point in new)
        print(new[-1], flush=True)
    if given.show or not given.runs:
        show(points, given.output)


if __name__ == "__main__":
    main()
