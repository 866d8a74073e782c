"""The writer's desk without input or output: a story as a tree of steps, and what is asked of a model for the next.

Whoever runs it (the terminal, a web page, a stage) takes an `Ask`, gets texts from any model, and hands them back.
Every function returns a new `Desk`; nothing is ever lost, so one can go back to any step and branch off.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from heedful.errors import UserError
from heedful.panels import consistency, exchange, grammar, requests
from heedful.panels.grammar import Form
from heedful.panels.panel import FIELDS, Field, Panel, clean, known_field
from heedful.types import Lang, Message, Preference

Kind = Literal["plan", "write", "update"]
Fit = Callable[[Panel], Panel]
"""A panel -> what a request shows of it (`budget.shown`). The story itself keeps every line."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a model is to answer, in which form (where it can be kept to one), and how many answers.

    `begun` is how the answer begins, where the model is in this process; it has no form then.
    """

    kind: Kind
    messages: tuple[Message, ...]
    form: Form | None = None
    n: int = 1
    begun: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One step of a story: the panel that the passage was written from, the passage, and the panel after it.

    The first turn has no passage. `parent` is the turn before, -1 for the first; `edited` says that a person has
    changed the panel after it.
    """

    number: int
    parent: int
    before: Panel
    passage: str
    after: Panel
    note: str = ""
    edited: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """A person's judgement at the desk: of several plans one was chosen (or written), or a panel was edited.

    `turn` is the step on which it was made, `panel` the one that the answers are about. Of an edited panel `chosen`
    and `others` are patches of it.
    """

    kind: Literal["plan", "edit"]
    turn: int
    panel: Panel
    chosen: str
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Desk:
    """A story being written. `at` is the turn that one stands on; `locked` fields no model may change."""

    title: str
    turns: tuple[Turn, ...]
    at: int = 0
    locked: tuple[Field, ...] = ()
    choices: tuple[Choice, ...] = ()
    consent: bool = False
    condition: str = ""

    @property
    def turn(self) -> Turn:
        return self.turns[self.at]

    @property
    def panel(self) -> Panel:
        """The panel as it stands now."""
        return self.turn.after


def begin(title: str, panel: Panel, *, consent: bool = False, condition: str = "") -> Desk:
    """An empty desk with the panel to begin from; `consent` lets choices and edits be kept as judgements."""
    title = clean(title) or "Untitled"
    return Desk(title, (Turn(0, -1, panel, "", panel),), consent=consent, condition=condition)


def path(desk: Desk) -> list[Turn]:
    """The turns from the first to the one that one stands on: the story as it reads now."""
    found = [desk.turn]
    while found[-1].parent >= 0:
        found.append(desk.turns[found[-1].parent])
    return found[::-1]


def passages(desk: Desk) -> list[str]:
    """The story's passages."""
    return [turn.passage for turn in path(desk) if turn.passage]


def whole(panel: Panel) -> Panel:
    """Every line of a panel is shown."""
    return panel


def ask_plan(
    desk: Desk, n: int = 3, *, fit: Fit = whole, explained: bool = False, closed: bool = False
) -> Ask:
    """Ask for `n` candidate plans; with a closed cast, for such as name nobody but whom the panel has."""
    messages = requests.plan(fit(desk.panel.without("plan")), desk.condition, explained=explained)
    form = grammar.closed_plan(desk.panel) if closed else grammar.plan(desk.panel.lang)
    return Ask("plan", messages, form, n)


def plans(desk: Desk, answers: Sequence[str]) -> list[tuple[str, ...]]:
    """The different plans that answers to `ask_plan` spell; one that spells none is taken sentence by line."""
    found = []
    for answer in answers:
        lines = requests.plan_lines(answer, desk.panel.lang) or _lines(answer.split("\n"))
        found.append(lines[:5])
    return list(dict.fromkeys(filter(None, found)))


def choose(desk: Desk, plan: Sequence[str], others: Sequence[Sequence[str]] = ()) -> Desk:
    """Take a plan, one of the model's or the person's own; the ones not taken are what it was preferred to."""
    lines = _lines(plan)
    if not lines:
        raise UserError("a plan needs at least one line that says what comes next")
    changed = _stand(desk, replace(desk.turn, after=desk.panel.with_field("plan", lines)))
    rejected = map("\n".join, filter(None, map(_lines, others)))
    return _judged(changed, "plan", desk.panel.without("plan"), "\n".join(lines), rejected)


def ask_write(desk: Desk, n: int = 1, *, fit: Fit = whole, explained: bool = False) -> Ask:
    """Ask for `n` drafts of the passage that the plan tells."""
    if not desk.panel.plan:
        raise UserError("there is no plan for the next passage: choose one or write one")
    return Ask("write", requests.write(fit(desk.panel), desk.condition, explained=explained), n=n)


def ask_update(
    desk: Desk,
    passage: str,
    n: int = 1,
    *,
    fit: Fit = whole,
    explained: bool = False,
    closed: bool = False,
) -> Ask:
    """Ask what a passage has changed; with a closed cast, only for what it names of the panel."""
    messages = requests.update(fit(desk.panel), passage, desk.condition, explained=explained)
    form = grammar.closed_patch(desk.panel, passage) if closed else grammar.patch(desk.panel.lang)
    return Ask("update", messages, form, n)


def written(desk: Desk, passage: str, patch: str) -> Desk:
    """A passage and what it changed become the next turn. Lines of the patch that say nothing are noted there."""
    text = passage.strip()
    if not text:
        raise UserError("the model wrote nothing: try again, or write the passage yourself")
    before = desk.panel
    after, bad = requests.updated(before, patch, desk.locked)
    note = _UNREAD[before.lang].format(n=len(bad)) if bad else ""
    turn = Turn(len(desk.turns), desk.at, before, text, after, note)
    return replace(desk, turns=(*desk.turns, turn), at=turn.number)


def edit(desk: Desk, panel: Panel) -> Desk:
    """Put a person's panel in the place of the one that stands."""
    turn, old = desk.turn, desk.panel
    if panel == old:
        return desk
    start = turn.before if turn.passage else Panel(lang=panel.lang)
    changed = _stand(desk, replace(turn, after=panel, edited=True))
    changed = _judged(
        changed, "edit", start, requests.patch_of(start, panel), [requests.patch_of(start, old)]
    )
    others = ["\n".join(old.plan)] if old.plan else []
    return _judged(changed, "plan", panel.without("plan"), "\n".join(panel.plan), others)


def lock(desk: Desk, field: str, locked: bool = True) -> Desk:
    """Keep a field from being changed by updates, or let it go."""
    name = known_field(field)
    kept = tuple(f for f in FIELDS if (f in desk.locked and f != name) or (f == name and locked))
    return replace(desk, locked=kept)


def agreed(desk: Desk, consent: bool) -> Desk:
    """Whether choices and edits from now on are kept."""
    return replace(desk, consent=consent)


def go(desk: Desk, number: int) -> Desk:
    """Stand on any turn; what is written next branches off there."""
    if not 0 <= number < len(desk.turns):
        raise UserError(f"there is no step {number}: the steps are 0 to {len(desk.turns) - 1}")
    return replace(desk, at=number)


def back(desk: Desk) -> Desk:
    """Stand on the turn before."""
    return go(desk, max(0, desk.turn.parent))


def warnings(desk: Desk) -> list[str]:
    """What the panel says against itself, and what the newest passage says against the panel before it."""
    turn = desk.turn
    found = [
        m.why + f": “{turn.passage[m.start : m.end]}”" for m in consistency.marks(turn.before, turn.passage)
    ]
    return consistency.contradictions(desk.panel) + found


def judgements(desk: Desk) -> list[Preference]:
    """The choices as preferences over answers to panel requests; empty without consent.

    A chosen plan is preferred to each of the others; an edited update to the one that was edited.
    """
    return [
        Preference(request(desk, c), spelled(c)[0], other, id=f"{number}", source=f"desk-{c.kind}")
        for number, c in enumerate(desk.choices if desk.consent else ())
        for other in spelled(c)[1:]
    ]


def request(desk: Desk, choice: Choice) -> tuple[Message, ...]:
    """The request that a choice is between answers to."""
    passage = desk.turns[choice.turn].passage
    if choice.kind == "plan":
        return requests.plan(choice.panel, desk.condition)
    if passage:
        return requests.update(choice.panel, passage, desk.condition)
    return requests.begin(desk.title, choice.panel.lang, desk.condition)


def spelled(choice: Choice) -> list[str]:
    """The answers that a choice is between, as a model would give them, the chosen one first."""
    answers = [choice.chosen, *choice.others]
    if choice.kind == "edit":
        return answers
    return [requests.plan_of(choice.panel.with_field("plan", a.split("\n"))) for a in answers]


def _lines(plan: Iterable[str]) -> tuple[str, ...]:
    return tuple(line for raw in plan if (line := clean(raw)))


_UNREAD: dict[Lang, str] = {
    "en": "lines of the update that could not be read: {n}",
    "zh": "更新中有 {n} 行读不懂",
}


def _stand(desk: Desk, turn: Turn) -> Desk:
    return replace(desk, turns=(*desk.turns[: desk.at], turn, *desk.turns[desk.at + 1 :]))


def _judged(
    desk: Desk, kind: Literal["plan", "edit"], panel: Panel, chosen: str, others: Iterable[str]
) -> Desk:
    """The desk with a choice, if there was one and it may be kept."""
    rejected = tuple(other for other in others if other != chosen)
    if not (desk.consent and chosen and rejected):
        return desk
    return replace(desk, choices=(*desk.choices, Choice(kind, desk.at, panel, chosen, rejected)))


def to_json(desk: Desk) -> dict[str, Any]:
    """The whole desk as JSON."""
    return {
        "version": exchange.VERSION,
        "title": desk.title,
        "at": desk.at,
        "locked": list(desk.locked),
        "consent": desk.consent,
        "condition": desk.condition,
        "turns": [
            {
                "parent": t.parent,
                "before": exchange.to_json(t.before),
                "passage": t.passage,
                "after": exchange.to_json(t.after),
                "note": t.note,
                "edited": t.edited,
            }
            for t in desk.turns
        ],
        "choices": [
            {
                "kind": c.kind,
                "turn": c.turn,
                "panel": exchange.to_json(c.panel),
                "chosen": c.chosen,
                "others": list(c.others),
            }
            for c in desk.choices
        ],
    }


def from_json(data: Any, where: str = "the story") -> Desk:
    """The desk that JSON holds; UserError if it holds none."""
    try:
        turns = tuple(
            Turn(
                n,
                int(t["parent"]),
                exchange.from_json(t["before"], where),
                str(t["passage"]),
                exchange.from_json(t["after"], where),
                str(t["note"]),
                bool(t.get("edited", False)),
            )
            for n, t in enumerate(data["turns"])
        )
        choices = tuple(
            Choice(
                c["kind"],
                int(c["turn"]),
                exchange.from_json(c["panel"], where),
                str(c["chosen"]),
                tuple(map(str, c["others"])),
            )
            for c in data["choices"]
        )
        locked = tuple(known_field(f) for f in data["locked"])
        desk = Desk(
            str(data["title"]),
            turns,
            int(data["at"]),
            locked,
            choices,
            bool(data["consent"]),
            str(data["condition"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{where} is no story of the writer's desk: {type(error).__name__} at {error}"
        ) from None
    right = all(-1 <= t.parent < t.number for t in desk.turns) and 0 <= desk.at < len(desk.turns)
    right = right and all(0 <= c.turn < len(desk.turns) for c in desk.choices)
    if not right or desk.turns[0].parent != -1:
        raise UserError(f"{where} is no story of the writer's desk: its steps do not follow one another")
    return desk
