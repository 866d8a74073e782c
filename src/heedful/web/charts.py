"""Charts as small SVG that the server draws: no script, colours by role from the style sheet, every text escaped."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from heedful.stats.estimate import Estimate

WIDTH, ROW, FOOT = 460, 30, 22
LEFT, RIGHT = 150, 330  # pixels between which values are drawn; names stand left of them, figures right


@dataclass(frozen=True, slots=True)
class Dot:
    """A figure with its interval; `said` is what stands beside it."""

    name: str
    figure: Estimate
    said: str
    role: str = "rl"


def dots(rows: Sequence[Dot], alt: str, *, low: float, high: float, middle: float | None = None) -> Markup:
    """Figures with their intervals on one axis from `low` to `high`; a figure without a value says so in words."""
    height = ROW * len(rows) + FOOT
    parts = [_axis(low, high, height, middle)]
    for number, row in enumerate(rows):
        y = ROW * number + ROW / 2
        figure = row.figure
        parts.append(_text(0, y + 4, _cut(row.name, 22), "ink"))
        parts.append(_text(WIDTH, y + 4, row.said, "soft", "end"))
        if figure.value is None:
            continue
        if figure.low is not None and figure.high is not None:
            ends = (_x(figure.low, low, high), _x(figure.high, low, high))
            parts.append(_line(*ends, y, row.role, 3))
        x = _x(figure.value, low, high)
        parts.append(
            Markup('<circle cx="{:.1f}" cy="{:.1f}" r="5" fill="var(--{})"/>').format(x, y, row.role)
        )
    return _svg(parts, height, alt)


def bars(rows: Sequence[tuple[str, float, str]], alt: str) -> Markup:
    """Horizontal bars from zero, the value in words at the right."""
    most = max((value for _, value, _ in rows), default=0.0) or 1.0
    parts = []
    for number, (name, value, said) in enumerate(rows):
        y = ROW * number
        width = max(1.0, (RIGHT - LEFT) * value / most)
        parts.append(_text(0, y + 19, _cut(name, 22), "ink"))
        parts.append(_text(WIDTH, y + 19, said, "soft", "end"))
        parts.append(
            Markup('<rect x="{}" y="{}" width="{:.1f}" height="14" rx="3" fill="var(--rl)"/>').format(
                LEFT, y + 8, width
            )
        )
    return _svg(parts, ROW * len(rows), alt)


def _axis(low: float, high: float, height: float, middle: float | None) -> Markup:
    parts = []
    for share in (0, 0.5, 1):
        value = low + share * (high - low)
        x = _x(value, low, high)
        parts.append(_upright(x, height - FOOT, "line"))
        parts.append(_text(x, height - 6, f"{value:g}", "soft", "middle", 11))
    if middle is not None:
        parts.append(_upright(_x(middle, low, high), height - FOOT, "soft", ' stroke-dasharray="3 3"'))
    return Markup("").join(parts)


def _x(value: float, low: float, high: float) -> float:
    return LEFT + (RIGHT - LEFT) * (min(max(value, low), high) - low) / (high - low)


def _upright(x: float, to: float, role: str, more: str = "") -> Markup:
    line = '<line x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1}" stroke="var(--{2})" stroke-width="1"{3}/>'
    return Markup(line).format(x, to, role, Markup(more))


def _line(start: float, end: float, y: float, role: str, width: int) -> Markup:
    line = '<line x1="{:.1f}" x2="{:.1f}" y1="{y}" y2="{y}" stroke="var(--{})" stroke-width="{}" '
    return Markup(line + 'stroke-linecap="round"/>').format(start, end, role, width, y=y)


def _text(x: float, y: float, text: str, role: str, anchor: str = "start", size: int = 13) -> Markup:
    made = '<text x="{:.1f}" y="{:.1f}" fill="var(--{})" text-anchor="{}" font-size="{}">{}</text>'
    return Markup(made).format(x, y, role, anchor, size, text)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _svg(parts: Sequence[Markup], height: float, alt: str) -> Markup:
    head = f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(alt)}">'
    return Markup(head) + Markup("").join(parts) + Markup("</svg>")
