"""The result of a run in the terminal: one line, and a table of 80 columns."""

import re
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from heedful.report import digits
from heedful.report.figures import Figure, Figures
from heedful.report.wording import clean

NAMES = {"sft": "SFT", "before": "before", "prefer": "DPO", "rl": "RL"}


def names(summary: Mapping[str, Any]) -> dict[str, str]:
    """What policies are called; that of `prefer` by its loss."""
    loss = summary["prefer_loss"]
    return NAMES if loss in (None, "dpo") else {**NAMES, "prefer": clean(loss)}


def policies(figures: Figures) -> tuple[str, list[str]]:
    """The baseline and the policies compared with it, RL first; read from the names of the win rates."""
    found: dict[str, str] = {}
    for name in figures:
        policy, is_rate, against = name.partition("/win_rate_vs_")
        if is_rate and "/" not in against and not re.match(r"round-\d+/", name):
            found.setdefault(policy, against.removesuffix("_greedy"))
    baseline = next(iter(found.values()), "").removesuffix("_by_reward_model")
    return baseline, sorted(found, key=lambda name: (name != "rl", name != "prefer"))


def line(summary: Mapping[str, Any]) -> str:
    """Who beats the baseline by how much, and how the reward model compares with people."""
    figures: Figures = summary["figures"]
    baseline, compared = policies(figures)
    called, parts = names(summary), []
    for number, name in enumerate(compared):
        gold = f"{name}/win_rate_vs_{baseline}"
        figure = figures.get(gold) or figures[f"{gold}_by_reward_model"]
        share = f"{digits.value_of(figure)} {digits.interval(figure)}".rstrip()
        said = f"{called.get(name, name)} in {share}"
        if number == 0:
            of = f"{called.get(baseline, baseline)} in {share} of {figure['n']} prompts"
            by = "" if gold in figures else " by its reward model's view"
            said = f"{called.get(name, name)} beats {of}{by}"
        parts.append(said)
    found = [", ".join(parts)] if parts else []
    agreement = figures.get("feedback/annotator_agreement")
    same = figures.get("reward/accuracy_on_the_same_pairs") if agreement else None
    if accuracy := same or figures.get("reward/heldout_accuracy"):
        said = f"reward model {100 * accuracy['value']:.0f} %"
        found.append(f"{said} vs annotators {100 * agreement['value']:.0f} %" if agreement else said)
    if not found:
        found = [f"not evaluated yet; finished: {', '.join(summary['seconds']) or 'nothing'}"]
    return "; ".join(found).replace(digits.SPACE, " ")


def table(summary: Mapping[str, Any]) -> Table:
    """Every policy's main figures, a line each; fits 80 columns."""
    figures: Figures = summary["figures"]
    baseline, compared = policies(figures)
    called = names(summary)
    win = f"win_rate_vs_{baseline}"
    against = called.get(baseline, baseline)
    made = Table(
        title=f"Held-out prompts: % won against {against}, ties half", title_justify="left", box=box.SIMPLE
    )
    made.add_column("")
    columns = {
        "judge": win,
        "greedy": f"{win}_greedy",
        "reward\nmodel": f"{win}_by_reward_model",
        "mark": "grade",
        "KL": "kl",
        "ends %": "stop_rate",
        "tokens": "length",
    }
    used = {
        k: v for k, v in columns.items() if any(f"{name}/{v}" in figures for name in (baseline, *compared))
    }
    for label in used:
        made.add_column(label, justify="right", no_wrap=True)
    for name in (baseline, *reversed(compared)) if compared else ():
        cells = [shown(figures.get(f"{name}/{measure}"), measure == win) for measure in used.values()]
        made.add_row(called.get(name, name), *cells)
    return made


def shown(figure: Figure | None, whole: bool) -> str:
    """A value, in per cent where it is a share; with its interval if `whole`."""
    if figure is None:
        return ""
    text = f"{100 * figure['value']:.1f}" if figure["unit"] == "share" else digits.number(figure["value"])
    return f"{text} {digits.interval(figure)}".replace(digits.SPACE, " ") if whole else text
