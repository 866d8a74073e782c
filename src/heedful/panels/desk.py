"""The writer's desk without input or output: a story as a tree of steps, and what is asked of a model for the next.

Whoever runs it (the terminal, a web page, a stage) takes an `Ask`, gets texts from any model, and hands them back.
Every function returns a new `Desk`; nothing is ever lost, so one can go back to any step and branch off.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from heedful.errors import UserError
from heedful.panels import budget, consistency, exchange, grammar, requests
from heedful.panels.grammar import Form
from heedful.panels.panel import FIELDS, Field, Panel, clean, known_field
from heedful.types import Message, Preference

Kind = Literal["plan", "write", "update"]


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

    The first turn has no passage. `parent` is the turn before, -1 for the first.
    """

    number: int
    parent: int
    before: Panel
    passage: str
    after: Panel
    note: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """A person's judgement at the desk: of several plans one was chosen (or written), or a panel was edited."""

    kind: Literal["plan", "edit"]
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


def ask_plan(desk: Desk, n: int = 3, *, explained: bool = False, closed: bool = False) -> Ask:
    """Ask for `n` candidate plans; with a closed cast, for such as name nobody but whom the panel has."""
    messages = requests.plan(desk.panel, desk.condition, explained=explained)
    form = grammar.closed_plan(desk.panel) if closed else grammar.plan(desk.panel.lang)
    return Ask("plan", messages, form, n)


def plans(desk: Desk, answers: Sequence[str]) -> list[tuple[str, ...]]:
    """The different plans that answers to `ask_plan` spell; one that spells none is taken sentence by line."""
    found = []
    for answer in answers:
        lines = requests.plan_lines(answer, desk.panel.lang) or tuple(
            line for raw in answer.split("\n") if (line := clean(raw))
        )
        found.append(lines[:5])
    return list(dict.fromkeys(filter(None, found)))


def choose(desk: Desk, plan: Sequence[str], others: Sequence[Sequence[str]] = ()) -> Desk:
    """Take a plan, one of the model's or the person's own; the ones not taken are what it was preferred to."""
    lines = tuple(line for raw in plan if (line := clean(raw)))
    if not lines:
        raise UserError("a plan needs at least one line that says what comes next")
    rejected = tuple("\n".join(o) for o in others if tuple(o) != lines)
    asked = desk.panel.without("plan")
    changed = _stand(desk, desk.panel.with_field("plan", lines))
    return _kept(changed, Choice("plan", asked, "\n".join(lines), rejected)) if rejected else changed


def ask_write(desk: Desk, n: int = 1, *, explained: bool = False) -> Ask:
    """Ask for `n` drafts of the passage that the plan tells."""
    if not desk.panel.plan:
        raise UserError("there is no plan for the next passage: choose one or write one")
    return Ask("write", requests.write(desk.panel, desk.condition, explained=explained), n=n)


def ask_update(desk: Desk, passage: str, n: int = 1, *, explained: bool = False, closed: bool = False) -> Ask:
    """Ask what a passage has changed; with a closed cast, only for what it names of the panel."""
    messages = requests.update(desk.panel, passage, desk.condition, explained=explained)
    form = grammar.closed_patch(desk.panel, passage) if closed else grammar.patch(desk.panel.lang)
    return Ask("update", messages, form, n)


def written(desk: Desk, passage: str, patch: str) -> Desk:
    """A passage and what it changed become the next turn. Lines of the patch that say nothing are noted there."""
    text = passage.strip()
    if not text:
        raise UserError("the model wrote nothing: try again, or write the passage yourself")
    before = desk.panel
    after, bad = requests.updated(before, patch, desk.locked)
    note = f"{len(bad)} lines of the update could not be read" if bad else ""
    turn = Turn(len(desk.turns), desk.at, before, text, after, note)
    return replace(desk, turns=(*desk.turns, turn), at=turn.number)


def edit(desk: Desk, panel: Panel) -> Desk:
    """Put a person's panel in the place of the one that stands."""
    if panel == desk.panel:
        return desk
    changed = _stand(desk, panel)
    before, after = (
        requests.patch_of(desk.turn.before, desk.panel),
        requests.patch_of(desk.turn.before, panel),
    )
    if not desk.turn.passage or before == after:
        return changed
    return _kept(changed, Choice("edit", desk.turn.before, after, (before,)))


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


def fitted(desk: Desk, length: Any, limit: int) -> tuple[Desk, str]:
    """The desk with a panel of at most `limit` tokens, and a sentence about what was left out."""
    panel, dropped = budget.fit(desk.panel, length, limit)
    return (desk if panel == desk.panel else _stand(desk, panel)), budget.said(dropped, limit)


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
    if not desk.consent:
        return []
    found = []
    for number, choice in enumerate(desk.choices):
        if choice.kind == "plan":
            messages = requests.plan(choice.panel, desk.condition)
            spelled = [_plan_text(choice.panel, p) for p in (choice.chosen, *choice.others)]
        else:
            turn = next(t for t in desk.turns if t.before == choice.panel and t.passage)
            messages = requests.update(choice.panel, turn.passage, desk.condition)
            spelled = [choice.chosen, *choice.others]
        found += [
            Preference(messages, spelled[0], other, id=f"{number}", source=f"desk-{choice.kind}")
            for other in spelled[1:]
            if other != spelled[0] and spelled[0]
        ]
    return found


def _plan_text(panel: Panel, plan: str) -> str:
    return requests.plan_of(panel.with_field("plan", plan.split("\n")))


def _stand(desk: Desk, panel: Panel) -> Desk:
    turn = replace(desk.turn, after=panel)
    return replace(desk, turns=(*desk.turns[: desk.at], turn, *desk.turns[desk.at + 1 :]))


def _kept(desk: Desk, choice: Choice) -> Desk:
    return replace(desk, choices=(*desk.choices, choice)) if desk.consent else desk


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
            }
            for t in desk.turns
        ],
        "choices": [
            {"kind": c.kind, "panel": exchange.to_json(c.panel), "chosen": c.chosen, "others": list(c.others)}
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
            )
            for n, t in enumerate(data["turns"])
        )
        choices = tuple(
            Choice(c["kind"], exchange.from_json(c["panel"], where), str(c["chosen"]), tuple(c["others"]))
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
    if not right or desk.turns[0].parent != -1:
        raise UserError(f"{where} is no story of the writer's desk: its steps do not follow one another")
    return desk
