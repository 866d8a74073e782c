"""What the programs beside this one share: figures over seeds, Markdown, pictures, and the commit they ran at."""

import fcntl
import json
import math
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from scipy.special import stdtrit

from heedful.report.style import COLOURS, alone, picture

Figure = Mapping[str, Any]
PICTURES = Path(__file__).parent.parent / "docs" / "results"


@cache
def commit() -> str:
    """The commit that this runs at, as it was when it was first asked for."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    return found.stdout.strip() or "unknown"


def seed_of(run: Path) -> int:
    """The seed of a run of the demo."""
    return int(json.loads((run / "run.json").read_text())["seed"])


def over_prompts(figures: Sequence[Figure | None]) -> dict[str, float | None]:
    """The mean of a figure over runs, and its 95 % interval over the prompts (or answers) of these runs."""
    found = [f for f in figures if f is not None and f.get("value") is not None]
    if not found:
        return {"value": None}
    value = float(np.mean([f["value"] for f in found]))
    if any(f.get("low") is None for f in found):
        return {"value": value}
    half = math.hypot(*((f["high"] - f["low"]) / 2 for f in found)) / len(found)
    return {"value": value, "low": value - half, "high": value + half}


def over_seeds(values: Sequence[float]) -> dict[str, float | None]:
    """The mean over runs and its 95 % interval by Student's t over the runs."""
    x = np.asarray(values, float)
    if len(x) < 2:
        return {"value": float(x.mean()) if len(x) else None}
    half = float(stdtrit(len(x) - 1, 0.975) * x.std(ddof=1) / math.sqrt(len(x)))
    return {"value": float(x.mean()), "low": float(x.mean()) - half, "high": float(x.mean()) + half}


def shown(figure: Figure | float | None, form: str = "{:.3f}") -> str:
    """A figure with its interval, or what it is without one."""
    if figure is None:
        return "-"
    if not isinstance(figure, Mapping):
        return form.format(figure)
    if figure.get("value") is None:
        return "-"
    text = form.format(figure["value"])
    if figure.get("low") is None:
        return text
    return f"{text} [{form.format(figure['low'])}, {form.format(figure['high'])}]"


def rows(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """A Markdown table, line by line."""
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for line in lines:
        yield "| " + " | ".join(line) + " |"


def save_picture(name: str, svg: Markup) -> None:
    """Write a plot to docs/results as a file of its own."""
    PICTURES.mkdir(exist_ok=True)
    (PICTURES / f"{name}.svg").write_text(alone(svg), encoding="utf-8")


def dot_plot(name: str, lines: Sequence[tuple[str, Figure]], title: str, alt: str) -> None:
    """Win rates with their intervals, a line each, beside the line of one half."""

    def draw(axes: Axes) -> None:
        for place, (_, figure) in enumerate(lines):
            colour = COLOURS["rl" if figure["low"] > 0.5 else "prefer" if figure["high"] < 0.5 else "ink"]
            axes.plot([figure["low"], figure["high"]], [place, place], color=colour)
            axes.plot([figure["value"]], [place], "o", color=colour, markersize=5)
        axes.set_yticks(range(len(lines)), [label for label, _ in lines])
        axes.invert_yaxis()
        axes.axvline(0.5, color=COLOURS["soft"], dashes=(2, 2), linewidth=1)
        axes.set_title(title, loc="left", fontsize=11)

    save_picture(name, picture(name, 40 + 16 * len(lines), draw, alt))


class Cells:
    """Figures by run and by name in a JSON file that several programs may write to at once."""

    def __init__(self, path: Path) -> None:
        self.path, self.commit = path, commit()
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def read(self) -> dict[str, dict[str, dict[str, Any]]]:
        """All there are: run -> name -> figures."""
        return dict(json.loads(self.path.read_text())) if self.path.exists() else {}

    def put(self, run: str, name: str, cell: Mapping[str, Any]) -> None:
        """Keep one, with the commit, and say so."""
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            cells = self.read()
            cells.setdefault(run, {})[name] = {**cell, "commit": self.commit}
            self.path.write_text(json.dumps(cells, indent=1) + "\n")
        print(f"{run}: {name}", flush=True)

    def having(self, name: str, runs: Sequence[str]) -> list[dict[str, Any]]:
        """The figures of this name, one of each of the runs that has them."""
        cells = self.read()
        return [cells[run][name] for run in runs if name in cells.get(run, {})]
