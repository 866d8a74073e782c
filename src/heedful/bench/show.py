"""Figures -> a table of 80 columns, an SVG, and what changed since an earlier run."""

import textwrap
from collections.abc import Mapping
from typing import Any

from heedful.bench.works import GROWTH, TORCHTUNE, WORKS
from heedful.report import digits, plots
from heedful.report.style import alone

Figures = Mapping[str, Mapping[str, Any]]
HEAD = ("work", "ours", "TRL", "times [95 %]", "goal", "of max", "memory GB")
WIDTHS = (21, 7, 7, 19, 4, 6, 9)
NAMES = {
    "trl": "TRL",
    "generate_bf16": "generate, bf16",
    "loop": "hand-written loop",
    "torchtune": f"torchtune {TORCHTUNE}",
}
STEADY = 0.05
"""A change of less than this is not spoken of, whatever its interval."""


def table(figures: Figures) -> str:
    """One line for each work, model and rival; then growth."""
    lines = [row(HEAD), row(tuple("-" * width for width in WIDTHS))]
    for place in places(figures):
        work, _, model = place.partition("-")
        for rival in WORKS[work].rivals:
            first = rival == WORKS[work].rivals[0]
            label = f"{work} {model}, {WORKS[work].unit}" if first else f"  {NAMES[rival.name]}"
            lines.append(row((label, *cells(figures, f"bench/{place}", rival.name, rival.goal))))
    for work, what in GROWTH.items():
        if f"bench/{work}/growth" in figures:
            grown = figures[f"bench/{work}/growth"]
            text = (
                f"us/token by {what}: {sizes(figures, work)}; the last is {interval(grown)} times the first"
            )
            lines += ["", *textwrap.wrap(text, sum(WIDTHS) + len(WIDTHS))]
    return "\n".join(lines)


def places(figures: Figures) -> list[str]:
    """The "WORK-MODEL" parts of the names, in order."""
    parts = [name.split("/")[1] for name in figures]
    return [p for p in dict.fromkeys(parts) if p.partition("-")[0] in WORKS]


def cells(figures: Figures, place: str, rival: str, goal: float) -> tuple[str, ...]:
    """A line's cells after its label."""

    def value(name: str, form: str = "") -> str:
        found = figures.get(f"{place}/{name}")
        return "-" if found is None else format(found["value"], form) if form else plain(found["value"])

    share = "share_of_floor" if place.startswith("bench/sampling") else "mfu"
    memory = [figures.get(f"{place}/{name}") for name in ("memory", f"{rival}_memory")]
    return (
        value("ours"),
        value(rival),
        interval(figures.get(f"{place}/ratio_vs_{rival}")),
        f"{goal:g}",
        value(share, ".0%"),
        " / ".join("-" if m is None else f"{m['value'] / 1e9:.1f}" for m in memory),
    )


def row(cells: tuple[str, ...]) -> str:
    """Cells in columns: the first to the left, the others to the right."""
    first, *rest = zip(cells, WIDTHS, strict=True)
    return " ".join([f"{first[0]:<{first[1]}}", *(f"{text:>{width}}" for text, width in rest)]).rstrip()


def interval(figure: Mapping[str, Any] | None) -> str:
    """A ratio with its interval."""
    if figure is None:
        return "-"
    text = f"{figure['value']:.2f}"
    return text if figure["low"] is None else f"{text} [{figure['low']:.1f}, {figure['high']:.1f}]"


def sizes(figures: Figures, work: str) -> str:
    """Time a token at each size."""
    found = {n.split("/")[2]: f["value"] for n, f in figures.items() if n.startswith(f"bench/{work}/")}
    return ", ".join(f"{plain(v)} at {int(k):,}" for k, v in found.items() if k.isdigit())


def plain(value: float) -> str:
    """A number for a terminal."""
    return digits.number(float(value))


def picture(figures: Figures) -> str:
    """How many times faster than each rival, as an SVG that stands by itself."""
    rows = []
    for place in places(figures):
        for rival in WORKS[place.partition("-")[0]].rivals:
            found = figures.get(f"bench/{place}/ratio_vs_{rival.name}")
            if found is not None:
                label = f"{place.replace('-', ' ')}, against {NAMES[rival.name]}"
                rows.append((label, found["value"], f"{interval(found)} times, goal {rival.goal:g}"))
    if not rows:
        return EMPTY
    return alone(plots.bars("speed", rows, "How many times faster than others on the same work"))


EMPTY = '<svg xmlns="http://www.w3.org/2000/svg"/>'


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What differs between two summaries by more than their spread and by at least 5 %."""
    lines = [
        f"not the same {what}: {old.get(what)} then, {new.get(what)} now"
        for what in ("device", "threads", "precision", "versions")
        if old.get(what) != new.get(what)
    ]
    before, after = old["figures"], new["figures"]
    shared = [name for name in after if name in before and after[name]["unit"] != "difference"]
    told = [text for name in shared if (text := change(name, before[name], after[name])) is not None]
    if not told:
        told = [f"none of the {len(shared)} shared figures changed by more than its spread and 5 %"]
    return "\n".join(lines + told)


def change(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """A line about one figure, or None where it is as it was."""
    factor = new["value"] / old["value"] if old["value"] else float("inf")
    if abs(factor - 1) < STEADY or overlapping(old, new):
        return None
    return f"{name}: {plain(old['value'])} -> {plain(new['value'])} {new['unit']} ({factor - 1:+.0%})"


def overlapping(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether the intervals meet; without an interval they do not."""
    if None in (old["low"], old["high"], new["low"], new["high"]):
        return False
    return bool(old["low"] <= new["high"] and new["low"] <= old["high"])
