"""The loop as one small drawing: which box stands where, which arrows run, and what each stage took."""

from dataclasses import dataclass

from heedful.report import digits
from heedful.report.view import View

WIDE, HIGH = 86.0, 44.0
COLUMNS = (2.0, 105.0, 208.0, 311.0)


@dataclass(frozen=True)
class Box:
    """A stage, or something that was given (`time` is then empty)."""

    x: float
    y: float
    title: str
    time: str
    kind: str  # once, loop, given


@dataclass(frozen=True)
class Drawing:
    """Boxes, the paths of the arrows between them, and whether the loop closes."""

    boxes: tuple[Box, ...]
    arrows: tuple[str, ...]
    returns: bool


def draw(view: View) -> Drawing:
    """Text to policy on the first line; from feedback to evaluation and back on the second."""
    known = set(view.run.stages)
    places = {
        name: (COLUMNS[i], 2.0)
        for i, name in enumerate(("world", "tokenizer", "pretrain", "sft"))
        if name in known
    }
    both = {"rl", "prefer"} <= known
    second = {
        "feedback": (COLUMNS[3], 92.0),
        "reward": (COLUMNS[2], 92.0),
        "rl": (COLUMNS[1], 66.0 if both else 92.0),
        "prefer": (COLUMNS[1], 118.0 if both else 92.0),
        "evaluate": (COLUMNS[0], 92.0),
    }
    places |= {name: place for name, place in second.items() if name in known}
    given = {}
    if "pretrain" not in known:
        given["model"] = (COLUMNS[2] if "sft" in known else COLUMNS[3], 2.0)
    if "feedback" not in known and "reward" in known:
        given["preferences"] = second["feedback"]
    boxes = [_box(view, name, x, y) for name, (x, y) in places.items()]
    boxes += [Box(x, y, view.words(f"loop_{name}"), "", "given") for name, (x, y) in given.items()]
    arrows = tuple(_arrows({**places, **given}, both))
    return Drawing(tuple(boxes), arrows, {"feedback", "evaluate"} <= known)


def _box(view: View, name: str, x: float, y: float) -> Box:
    spent = view.run.seconds.get(name)
    time = view.words("loop_open") if spent is None else digits.seconds(spent)
    return Box(x, y, view.stage(name), time, "once" if y < 60 else "loop")


def _arrows(places: dict[str, tuple[float, float]], both: bool) -> list[str]:
    feed = "feedback" if "feedback" in places else "preferences"
    base = "pretrain" if "pretrain" in places else "model"
    start = "sft" if "sft" in places else base
    pairs = [("world", "tokenizer"), ("tokenizer", "pretrain"), (base, "sft")]
    paths = [_right(places[a], places[b]) for a, b in pairs if a in places and b in places]
    if start in places and feed == "feedback" and feed in places:
        paths.append(_down(places[start], places[feed]))
    pairs = [(feed, "reward"), ("reward", "rl"), ("rl", "evaluate"), ("prefer", "evaluate")]
    paths += [_left(places[a], places[b]) for a, b in pairs if a in places and b in places]
    if feed in places and "prefer" in places:
        (x, y), (to_x, to_y) = places[feed], places["prefer"]
        turn = max(to_y + HIGH / 2, y + HIGH + 8) if both else y + HIGH + 12
        end = f"H {to_x + WIDE + 3}" if both else f"H {to_x + WIDE / 2} V {to_y + HIGH + 3}"
        paths.append(f"M {x + WIDE / 2 - 12} {y + HIGH} V {turn} {end}")
    if "evaluate" in places and feed == "feedback" and feed in places:
        (x, y), (to_x, to_y) = places["evaluate"], places[feed]
        paths.append(f"M {x + WIDE / 2} {y + HIGH} V 182 H {to_x + WIDE / 2 + 12} V {to_y + HIGH + 3}")
    return paths


def _right(a: tuple[float, float], b: tuple[float, float]) -> str:
    return f"M {a[0] + WIDE} {a[1] + HIGH / 2} H {b[0] - 3}"


def _down(a: tuple[float, float], b: tuple[float, float]) -> str:
    return f"M {a[0] + WIDE / 2} {a[1] + HIGH} V {b[1] - 3}"


def _left(a: tuple[float, float], b: tuple[float, float]) -> str:
    """A straight arrow leftwards; between lines of different height it bends halfway."""
    y, to_y, to_x = a[1] + HIGH / 2, b[1] + HIGH / 2, b[0] + WIDE
    middle = (a[0] + to_x) / 2 + 3
    return f"M {a[0]} {y} H {middle} V {to_y} H {to_x + 3}"
