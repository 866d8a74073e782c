"""Numbers as people read them; the same in every language."""

from collections.abc import Mapping
from typing import Any

SPACE = "\u00a0"  # a number and its unit stay on one line


def percent(value: float) -> str:
    """0.783 -> 78.3 %."""
    return f"{100 * value:.1f}{SPACE}%"


def number(value: float) -> str:
    """Three significant digits, thousands with commas."""
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    size = abs(value)
    if size < 5e-5:
        return "0"
    if size < 0.1:
        return f"{value:.4f}".rstrip("0")
    return f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2}f}"


def value_of(figure: Mapping[str, Any]) -> str:
    """A figure's value by its unit."""
    return percent(figure["value"]) if figure["unit"] == "share" else number(figure["value"])


def interval(figure: Mapping[str, Any]) -> str:
    """A figure's interval in brackets, or nothing."""
    if figure["low"] is None or figure["high"] is None:
        return ""
    if figure["unit"] == "share":
        return f"[{100 * figure['low']:.1f},{SPACE}{100 * figure['high']:.1f}]"
    return f"[{number(figure['low'])},{SPACE}{number(figure['high'])}]"


def seconds(value: float) -> str:
    """95.2 -> 1 min 35 s."""
    if value < 9.95:
        return f"{value:.1f}{SPACE}s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}{SPACE}h{SPACE}{minutes}{SPACE}min"
    return f"{minutes}{SPACE}min{SPACE}{rest}{SPACE}s" if minutes else f"{rest}{SPACE}s"


def size(value: int) -> str:
    """1_900_000_000 -> 1.9 GB."""
    return f"{value / 1e9:.1f}{SPACE}GB" if value >= 1e9 else f"{value / 1e6:.0f}{SPACE}MB"
