"""Colours by role, and matplotlib figures as small inline SVG that follows the page's light or dark colours."""

import io
import re
import warnings
from collections.abc import Callable, Sequence

from markupsafe import Markup
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 360.0  # pixels: a phone's width, so that text keeps its size there
POLICIES = ("sft", "before", "prefer", "rl")
# Roles are drawn in marker colours that the page's variables then replace (style.css holds the real ones, chosen
# from Okabe & Ito's set so that colour-blind readers can tell them apart).
ROLES = ("ink", "soft", "line", "paper", *POLICIES, "other", "people", "model")
COLOURS = {role: f"#00{number:02x}01" for number, role in enumerate(ROLES, 1)}
MARKERS = {"sft": "o", "before": "^", "prefer": "s", "rl": "D", "other": "v", "people": "o", "model": "s"}
SETTINGS = {
    "svg.fonttype": "none",  # the browser draws text, with the fonts of the reader's language
    "font.size": 11,
    "text.parse_math": False,
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["soft"],
    "ytick.color": COLOURS["soft"],
    "axes.edgecolor": COLOURS["line"],
    "axes.labelcolor": COLOURS["soft"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}


def role(policy: str) -> str:
    """The colour role of a policy: the same everywhere."""
    return policy if policy in POLICIES else "other"


def picture(
    name: str,
    height: float,
    draw: Callable[[Axes], None],
    alt: str,
    *,
    width: float = WIDTH,
    box: Sequence[float] | None = None,
) -> Markup:
    """Draw one plot of `width` by `height` pixels; `box` places the axes as shares of left, bottom, width, height.

    The same `name` and content give the same bytes, whatever matplotlibrc says.
    """
    with style.context(["default", {**SETTINGS, "svg.hashsalt": name}]):
        figure = Figure(figsize=(width / 72, height / 72), layout=None if box else "constrained")
        axes = figure.add_axes(tuple(box)) if box else figure.add_subplot()  # type: ignore[arg-type]
        draw(axes)
        out = io.StringIO()
        with warnings.catch_warnings():
            # Fonts here only measure text; Chinese glyphs come from the reader's browser.
            warnings.filterwarnings("ignore", message=r"Glyph \d+")
            nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
            figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    return Markup(_inline(out.getvalue(), alt))


def alone(svg: Markup) -> str:
    """An inline plot as a file of its own, with colours for light and dark readers."""
    return (
        str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(">", f">{_ALONE}", 1)
    )


_ALONE = (
    "<style>:root{--ink:#222;--soft:#666;--line:#ddd;--paper:#fff;--rl:#0072b2;--prefer:#c04f00}"
    "@media(prefers-color-scheme:dark){:root{--ink:#eee;--soft:#aaa;--line:#444;--paper:#111;--rl:#56b4e9;--prefer:#ff9a4d}}"
    "text{font-family:sans-serif}</style>"
)


def _inline(svg: str, alt: str) -> str:
    """Leave what a browser needs inside HTML: no declarations, no fonts, no ids but those referred to."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r" font-family: [^;\"]*;", "", svg)
    svg = re.sub(r' transform="rotate\(-0 [^"]*"', "", svg)
    svg = re.sub(r'(?<= [dxy]=)"[^"]*"', lambda m: _short(m[0]), svg)
    svg = svg.replace("xlink:href", "href")
    used = set(re.findall(r"#(\w+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    for role, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{role})")
    view = re.search(r'viewBox="[^"]*"', svg)
    assert view is not None
    head = f'<svg {view[0]} role="img" aria-label="{Markup.escape(alt)}">'
    svg = re.sub(r"<svg.*?>", lambda _: head, svg, count=1, flags=re.DOTALL)
    return re.sub(r"\n\s*", "\n", svg)


def _short(attribute: str) -> str:
    """Coordinates to a tenth of a pixel, which is finer than anybody sees."""
    rounded = re.sub(r"-?\d+\.\d+", lambda m: f"{float(m[0]):.1f}".removesuffix(".0"), attribute)
    return rounded.replace("\n", "").replace(' "', '"')
