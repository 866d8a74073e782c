"""The kinds of plot in a report; each takes plain values and returns inline SVG. All text is horizontal."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from heedful.report import digits, series
from heedful.report.series import Floats
from heedful.report.style import COLOURS, MARKERS, picture

INK, SOFT, LINE, PAPER = (COLOURS[role] for role in ("ink", "soft", "line", "paper"))
ROW, MARK, FOOT = 24.0, 18.0, 24.0  # pixels: a row's label, each of its marks, the axis below
CURVE, SMALL = 180.0, 300.0  # curves stand three in a line


@dataclass(frozen=True)
class Mark:
    """A value with its interval, drawn in the colour and shape of `role`; hollow for a model's own view."""

    label: str
    value: float
    low: float | None
    high: float | None
    role: str
    hollow: bool = False


Rows = Sequence[tuple[str, Sequence[Mark]]]


def dots(name: str, rows: Rows, alt: str, *, middle: float | None = None, share: bool = True) -> Markup:
    """Values between 0 and 1, one line each: interval on the left, policy and figures on the right."""
    height = sum(ROW + MARK * len(marks) for _, marks in rows) + FOOT
    ticks = ["0 %", "25", "50", "75", "100 %"] if share else ["0", "0.25", "0.5", "0.75", "1"]

    def draw(axes: Axes) -> None:
        axes.set_xlim(0, 1)
        axes.set_ylim(height - FOOT, 0)
        axes.set_yticks([])
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ticks)
        axes.spines["left"].set_visible(False)
        across = axes.get_yaxis_transform()
        top = 0.0
        for label, marks in rows:
            axes.text(0, top + 17, label, transform=across, color=INK, weight="bold")
            for number, mark in enumerate(marks):
                y = top + ROW + MARK * (number + 0.5)
                _interval(axes, mark, y)
                axes.text(1.05, y + 3.5, mark.label, transform=across, color=COLOURS[mark.role])
                axes.text(1.99, y + 3.5, _figures(mark, share), transform=across, color=INK, ha="right")
            bottom = top + ROW + MARK * len(marks)
            if middle is not None:
                axes.plot([middle] * 2, [top + ROW, bottom], color=SOFT, linewidth=1, dashes=(2, 2), zorder=1)
            top = bottom

    return picture(name, height, draw, alt, box=(0.03, FOOT / height, 0.48, 1 - FOOT / height))


def _interval(axes: Axes, mark: Mark, y: float) -> None:
    colour = COLOURS[mark.role]
    if mark.low is not None and mark.high is not None:
        axes.plot([mark.low, mark.high], [y, y], color=colour, linewidth=2.4)
    face = PAPER if mark.hollow else colour
    axes.plot(
        [mark.value],
        [y],
        MARKERS[mark.role],
        color=colour,
        markerfacecolor=face,
        markersize=6.5,
        clip_on=False,
    )


def _figures(mark: Mark, share: bool) -> str:
    def show(value: float) -> str:
        return f"{100 * value:.1f}" if share else f"{value:.2f}"

    value = f"{show(mark.value)} %" if share else show(mark.value)
    if mark.low is None or mark.high is None:
        return value
    return f"{value} [{show(mark.low)}, {show(mark.high)}]"


def bars(name: str, rows: Sequence[tuple[str, float, str]], alt: str) -> Markup:
    """Horizontal bars: label above, value at the right, lengths on one scale from zero."""
    height = 34.0 * len(rows)
    longest = max(value for _, value, _ in rows) or 1.0

    def draw(axes: Axes) -> None:
        axes.set_xlim(0, longest)
        axes.set_ylim(height, 0)
        axes.axis("off")
        for number, (label, value, text) in enumerate(rows):
            y = 34.0 * number
            axes.text(0, y + 14, label, color=INK)
            axes.text(longest, y + 14, text, color=SOFT, ha="right")
            axes.barh(y + 23, longest, height=8, color=LINE)
            axes.barh(y + 23, value, height=8, color=COLOURS["rl"])

    return picture(name, height, draw, alt, box=(0.02, 0, 0.96, 1))


def loss(
    name: str, x: Floats, y: Floats, labels: tuple[str, str, str], alt: str, level: float | None
) -> Markup:
    """A training curve with its smoothed course; `level` is the held-out value. Labels: x, training, held-out."""
    smooth = series.smoothed(y)
    steps, training, heldout = labels

    def draw(axes: Axes) -> None:
        axes.plot(*series.thinned(x, y), color=SOFT, linewidth=0.8, alpha=0.55)
        axes.plot(*series.thinned(x, smooth), color=COLOURS["rl"])
        axes.set_title(f"{training} {smooth[-1]:.3f}", loc="left", fontsize=11, color=COLOURS["rl"])
        if level is not None:
            axes.axhline(level, color=COLOURS["prefer"], linewidth=1.4, dashes=(4, 2))
            axes.set_title(f"{heldout} {level:.3f}", loc="right", fontsize=11, color=COLOURS["prefer"])
        _plain(axes, steps)

    return picture(name, CURVE, draw, alt, width=SMALL)


def course(
    name: str, x: Floats, y: Floats, xlabel: str, alt: str, reach: Sequence[float], share: bool
) -> Markup:
    """One metric over iterations, its first and last value above; the axis reaches the values in `reach`."""
    first, last = (digits.percent(v) if share else digits.number(float(v)) for v in (y[0], y[-1]))

    def draw(axes: Axes) -> None:
        axes.plot(*series.thinned(x, y), color=COLOURS["rl"])
        axes.plot(x[[0, -1]], y[[0, -1]], "o", color=COLOURS["rl"], markersize=5, clip_on=False)
        axes.set_title(f"{first} → {last}", loc="left", fontsize=11, color=INK)
        axes.margins(x=0.03, y=0.1)
        _plain(axes, xlabel)
        low, high = axes.get_ylim()
        axes.set_ylim(min([low, *reach]), max([high, *reach]))
        if share:
            axes.yaxis.set_major_formatter(PercentFormatter(1))

    return picture(name, CURVE - 20, draw, alt, width=SMALL)


def path(name: str, x: Floats, y: Floats, labels: tuple[str, str, str], alt: str) -> Markup:
    """Reward against distance, one dot an iteration, later ones darker. Labels: x, first, last."""
    xlabel, first, last = labels

    def draw(axes: Axes) -> None:
        axes.plot(x, y, color=LINE, linewidth=1)
        shades: Any = np.linspace(0.2, 1, len(x))  # one a dot, which the annotations leave out
        axes.scatter(x, y, s=22, color=COLOURS["rl"], alpha=shades, linewidth=0, zorder=3)
        for place, text, offset, align in ((0, first, (6, -4), "left"), (-1, last, (-7, 7), "right")):
            where = (x[place], y[place])
            axes.annotate(text, where, xytext=offset, textcoords="offset points", color=INK, ha=align)
        axes.margins(x=0.05, y=0.12)
        _plain(axes, xlabel)

    return picture(name, CURVE, draw, alt, width=SMALL)


def calibration(
    name: str, points: Sequence[Mark], x: Sequence[float], labels: tuple[str, str], alt: str
) -> Markup:
    """How often the model was right (up) against how sure it was (right). Labels: x, y."""
    xlabel, ylabel = labels

    def draw(axes: Axes) -> None:
        axes.plot([0.5, 1], [0.5, 1], color=SOFT, linewidth=1, dashes=(2, 2))
        for at, mark in zip(x, points, strict=True):
            if mark.low is not None and mark.high is not None:
                axes.plot([at, at], [mark.low, mark.high], color=COLOURS[mark.role], linewidth=2)
            axes.plot([at], [mark.value], MARKERS[mark.role], color=COLOURS[mark.role], markersize=6.5)
            axes.annotate(
                mark.label,
                (at, mark.value if mark.low is None else mark.low),
                xytext=(0, -11),
                textcoords="offset points",
                ha="center",
            )
        axes.set_xlim(0.48, 1.01)
        low = min([m.low if m.low is not None else m.value for m in points])
        axes.set_ylim(min(0.42, low - 0.1), 1.02)
        axes.set_xticks([0.5, 0.6, 0.7, 0.8, 0.9, 1.0], ["50", "60", "70", "80", "90", "100 %"])
        ticks = [t for t in (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0) if t >= axes.get_ylim()[0]]
        axes.set_yticks(ticks, [f"{100 * t:.0f} %" for t in ticks])
        axes.set_xlabel(xlabel, loc="right")
        axes.set_title(ylabel, loc="left", fontsize=11, color=SOFT)

    return picture(name, CURVE + 50, draw, alt)


def _plain(axes: Axes, xlabel: str) -> None:
    axes.set_xlabel(xlabel, loc="right")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=xlabel != ""))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.spines["left"].set_visible(False)
