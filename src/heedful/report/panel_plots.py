"""Plots of panels: what each field saves, and how diversity is bought with faithfulness. Files of their own."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes

from heedful.report.plots import bars
from heedful.report.style import COLOURS, MARKERS, alone, picture

Figures = Mapping[str, Mapping[str, Any]]
Named = Callable[[str], str]


def nats(figures: Figures, kind: str = "last") -> str:
    """Nats a passage that each field saves, largest first; `kind` is "last" or "alone"."""
    return alone(
        field_bars(
            figures, kind, "Nats a passage that each field of the panel saves", lambda f: f.replace("_", " ")
        )
    )


def losses(figures: Figures) -> str:
    """Held-out nats a token of the same passages under each context."""
    return alone(loss_bars(figures, "Held-out loss of the same passages under each context", str))


def field_bars(figures: Figures, kind: str, alt: str, named: Named) -> Markup:
    """Bars of what each field saves, for a page."""
    found = {
        name.split("/")[1]: f
        for name, f in figures.items()
        if name.startswith("nats/") and name.endswith(kind)
    }
    rows = [
        (named(name), max(0.0, f["value"]), f"{f['value']:.2f} [{f['low']:.2f}, {f['high']:.2f}]")
        for name, f in sorted(found.items(), key=lambda item: -item[1]["value"])
    ]
    return bars(f"nats {kind}", rows, alt)


def loss_bars(figures: Figures, alt: str, named: Named) -> Markup:
    """Bars of the losses, for a page."""
    found = {name.partition("/")[0]: f for name, f in figures.items() if name.endswith("/loss")}
    rows = [
        (named(name), f["value"], f"{f['value']:.3f} [{f['low']:.3f}, {f['high']:.3f}]")
        for name, f in found.items()
    ]
    return bars("panel losses", rows, alt)


def prompts(tokens: Mapping[str, Sequence[float]]) -> str:
    """How long the requests were, passage by passage, a line a kind of request."""
    roles = {"write": "rl", "update": "prefer", "plan": "soft"}

    def draw(axes: Axes) -> None:
        for kind, row in tokens.items():
            axes.plot(range(1, len(row) + 1), row, color=COLOURS[roles[kind]], linewidth=1, label=kind)
        axes.set_xlabel("passage")
        axes.set_title("tokens of a request", loc="left", fontsize=11)
        axes.set_ylim(0, None)
        axes.legend(frameon=False, loc="lower right")

    return alone(picture("panel prompts", 220, draw, "Tokens of a request by passage", width=420))


def curve(points: Sequence[Mapping[str, Any]]) -> str:
    """Faithfulness to the plan (up) against diversity (right), for heat on the plan and for heat on the prose."""
    roles = {"plan": "rl", "prose": "prefer"}

    def draw(axes: Axes) -> None:
        for where, role in roles.items():
            row = [p for p in points if p["where"] == where]
            x = [p["diversity"]["value"] for p in row]
            y = [p["faithfulness"]["value"] for p in row]
            axes.plot(x, y, MARKERS[role] + "-", color=COLOURS[role], label=f"temperature on the {where}")
            for p, a, b in zip(row, x, y, strict=True):
                axes.annotate(f"{p['temperature']:g}", (a, b), xytext=(4, 4), textcoords="offset points")
        axes.set_xlabel("diversity of passages")
        axes.set_title("faithfulness to the plan", loc="left", fontsize=11)
        axes.set_xlim(-0.05, 1.05)
        axes.set_ylim(0, 1.08)
        axes.legend(frameon=False, loc="lower left")

    return alone(picture("panel curve", 260, draw, "Diversity against faithfulness", width=420))
