"""Reward models on files of fixed pairs, as RewardBench has them: prompt, chosen, rejected, subset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heedful.data import files, formats, shapes
from heedful.data.shapes import Shape
from heedful.engine.heldout import accurate
from heedful.engine.scorer import Scorer
from heedful.types import Preference, Prompt


@dataclass(frozen=True)
class Suite:
    """Pairs, and the subset that each belongs to."""

    pairs: tuple[Preference, ...]
    subsets: tuple[str, ...]


def read_suite(path: str | Path) -> Suite:
    """Read preferences of any format with a column `subset`; rows without one belong to "all"."""
    pairs: list[Preference] = []
    subsets: list[str] = []

    def build(row: files.Row, shape: Shape) -> list[Preference]:
        found = formats.preferences_of(row, shape)
        subsets.extend([formats.short(row, "subset") or "all"] * len(found))
        pairs.extend(found)
        return found

    formats.gather(files.read_rows(path), shapes.PREFERENCES, "preferences", build, None, None)
    return Suite(tuple(pairs), tuple(subsets))


def on_suite(scorer: Scorer, suite: Suite) -> dict[str, Any]:
    """Accuracy by subset, over all pairs, and the mean of the subsets: a row a pair, ties half, 95 % intervals."""
    prompts = [Prompt("", pair.messages) for pair in suite.pairs]
    scores = scorer.scores(prompts, [(pair.chosen, pair.rejected) for pair in suite.pairs])
    margin = np.asarray([chosen - rejected for chosen, rejected in scores])
    asked: dict[Any, int] = {}
    prompt = np.asarray([asked.setdefault(pair.messages, len(asked)) for pair in suite.pairs])
    names = np.asarray(suite.subsets)
    by_subset = {
        str(name): accurate(margin[names == name], prompt[names == name])
        for name in dict.fromkeys(suite.subsets)
    }
    return {
        "accuracy": accurate(margin, prompt),
        "mean_of_subsets": float(np.mean([found["value"] for found in by_subset.values()])),
        "by_subset": by_subset,
    }


def table(found: dict[str, Any]) -> str:
    """The figures as a Markdown table."""
    rows = [*found["by_subset"].items(), ("all pairs", found["accuracy"])]
    lines = ["| subset | pairs | accuracy | 95 % interval |", "|---|---|---|---|"]
    lines += [f"| {name} | {f['n']} | {f['value']:.3f} | {_interval(f)} |" for name, f in rows]
    return "\n".join([*lines, f"| mean of subsets | | {found['mean_of_subsets']:.3f} | |"])


def _interval(figure: dict[str, Any]) -> str:
    return "" if figure["low"] is None else f"{figure['low']:.3f} to {figure['high']:.3f}"
