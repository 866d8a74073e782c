"""What overoptimisation.py shows of its points: the laws fitted and drawn, and the text that PPO forgets."""

import json
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from tables import over_seeds, rows, save_picture, shown

from heedful.report.style import COLOURS, picture
from heedful.stats.overoptimisation import Law, fit_law

SIZES = (50, 300, 3000)
LAYERS = (1, 2, 4)
PTX = (0.05,)
LAWS: dict[str, Law] = {"best_of_n": "best_of_n", "ppo": "rl", "ppo_long": "rl"}
PROXIES = list(
    dict.fromkeys([*((size, LAYERS[-1]) for size in SIZES), *((SIZES[-1], layers) for layers in LAYERS)])
)
DATA = {(size, LAYERS[-1]): "all" if size == SIZES[-1] else str(size) for size in SIZES}
BODIES = {(SIZES[-1], layers): f"{layers}" for layers in LAYERS}
PLOTS = {
    "overoptimisation-best_of_n": ("best_of_n", DATA),
    "overoptimisation-best_of_n-layers": ("best_of_n", BODIES),
    "overoptimisation-ppo": ("ppo", DATA),
    "overoptimisation-ppo-layers": ("ppo_long", BODIES),
}


def fits(points: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The law of each way and size: fitted to every run for itself (intervals over runs), and to all points (R^2)."""
    found = {}
    for way, law in LAWS.items():
        for size, layers in PROXIES:
            mine = [p for p in points if (p["way"], p["size"], p["layers"]) == (way, size, layers)]
            runs = [[p for p in mine if p["run"] == run] for run in dict.fromkeys(p["run"] for p in mine)]
            if not runs:
                continue
            each = [fit_law([p["d"] for p in r], [p["gold"] for p in r], law) for r in runs]
            whole = fit_law([p["d"] for p in mine], [p["gold"] for p in mine], law)
            found[f"{way}/{size}/{layers}"] = {
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


def law_plot(name: str, points: Sequence[dict[str, Any]], found: dict[str, dict[str, Any]]) -> None:
    """Gold gain against d, a colour a reward model, with the fitted laws."""
    way, proxies = PLOTS[name]

    def draw(axes: Axes) -> None:
        for ((size, layers), label), role in zip(proxies.items(), ("prefer", "ink", "rl"), strict=True):
            mine = [p for p in points if (p["way"], p["size"], p["layers"]) == (way, size, layers)]
            colour = COLOURS[role]
            x, y = [p["d"] for p in mine], [p["gold"] for p in mine]
            axes.plot(x, y, "o", color=colour, markersize=4, alpha=0.6)
            a, b = found[f"{way}/{size}/{layers}"]["fitted"]
            d = np.linspace(0.01, max(x), 100)
            curve = d * (a - b * (d if way == "best_of_n" else np.log(d)))
            axes.plot(d, curve, color=colour)
            axes.annotate(f" {label}", (d[-1], curve[-1]), color=colour)
        axes.set_xlabel("root of KL, nats")
        axes.set_title("gold gain, deviations", loc="left", fontsize=11)
        axes.margins(x=0.15)

    alt = (
        f"Gold gain against the root of KL for {way} under reward models of three sizes, with the fitted laws"
    )
    save_picture(name, picture(name, 260, draw, alt))


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


def on_text(points: Sequence[dict[str, Any]], end: str = "") -> list[dict[str, Any]]:
    """PPO with and without pretraining text under the reward model that saw everything; `end` is "_long" or none."""
    ways = (f"ppo{end}", f"ppo_ptx{end}")
    return [p for p in points if p["way"] in ways and (p["size"], p["layers"]) == (SIZES[-1], LAYERS[-1])]


def at_reward(points: Sequence[dict[str, Any]], level: float) -> float | None:
    """The perplexity where a run's reward first passes `level`, between its points; None if it does not."""
    for one, other in pairwise(points):
        if one["proxy"] <= level <= other["proxy"]:
            part = (level - one["proxy"]) / max(other["proxy"] - one["proxy"], 1e-9)
            return float(one["perplexity"] + part * (other["perplexity"] - one["perplexity"]))
    return None


def text_table(every: Sequence[dict[str, Any]], levels: Sequence[float]) -> Iterator[str]:
    """The perplexity of text at levels of reward (PPO-ptx also as a share of PPO's), and where each run ended."""
    heads = ["", *(f"perplexity at reward {level:+.1f}" for level in levels)]
    heads += ["at the end: reward", "perplexity", "gold gain", "KL"]
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
        way, size, layers = name.split("/")
        peak = "never" if fit["peak"] is None else f"{fit['peak']:.1f}"
        lines.append(
            [
                way,
                size,
                layers,
                str(fit["points"]),
                shown(fit["alpha"]),
                shown(fit["beta"]),
                f"{fit['r_squared']:.3f}",
                ", ".join(f"{r:.3f}" for r in fit["r_squared_each"]),
                peak,
                f"{fit['furthest']:.1f}",
            ]
        )
    heads = [
        "way",
        "prompts judged",
        "layers",
        "points",
        "a",
        "b",
        "R^2",
        "R^2 of each run",
        "peak at d",
        "furthest d",
    ]
    print("\n".join(rows(heads, lines)), end="\n\n")
    print("\n".join(text_table(on_text(points), (0.6, 0.8, 1.0))), end="\n\n")
    if longer := on_text(points, "_long"):
        print("\n".join(text_table(longer, (1.0, 1.2, 1.4))))
    for name, (way, proxies) in PLOTS.items():
        if proxies.keys() <= {(p["size"], p["layers"]) for p in points if p["way"] == way}:
            law_plot(name, points, found)
    text_plot(points)
