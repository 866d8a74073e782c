"""What the rules mark, and what they leave alone."""

import pytest

from heedful.panels.consistency import contradictions, least, marks
from heedful.panels.panel import Entry, Panel
from heedful.world import saga

PANEL = Panel(
    people=(Entry("Mina", "in the mill"), Entry("Tom", "dead")),
    places=(Entry("the cave", "closed"),),
    things=(Entry("the kite", "in the barn"),),
)


@pytest.mark.parametrize(
    ("passage", "why"),
    [
        ("Mina was in the mill.", []),
        ("Mina was in the barn.", ["Mina is in the mill"]),
        ("Tom laughed.", ["Tom is dead"]),
        ("Tom was dead.", []),
        ("Tom laughed at her from the gate.", ["Tom is dead"]),
        ("Tom came from the orchard.", []),
        ("Mina thought of Tom.", []),
        ("The kite lay in the mill.", ["the kite is in the barn"]),
        ("Mina put the kite in the mill. The kite lay in the mill.", []),
        ("Mina went to the cave.", ["the cave is closed"]),
        ("Minas were in the barn.", []),
        ("All this time Mina was in the barn.", ["Mina is in the mill"]),
        ("Now the kite lay in the mill.", ["the kite is in the barn"]),
        ("Once more Carmina was in the barn.", []),
    ],
)
def test_marks(passage: str, why: list[str]) -> None:
    found = marks(PANEL, passage)
    assert [m.why for m in found] == why
    assert all(passage[m.start : m.end].strip() == passage[m.start : m.end] for m in found)


def test_the_draft_with_the_fewest_marks_is_kept() -> None:
    drafts = (
        "Tom sang. Mina was in the barn.",
        "Mina was in the barn.",
        "Mina was in the mill.",
        "Mina sang.",
    )
    assert least(PANEL, drafts) == drafts[2]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_true_stories_are_not_marked(lang: str) -> None:
    for number in range(4):
        for p in saga.saga(lang, 0, number, 30):  # type: ignore[arg-type]
            assert contradictions(p.before) == []
            assert marks(p.before, p.text) == []


def test_a_panel_against_itself() -> None:
    panel = Panel(
        people=(Entry("Tom", "dead"), Entry("Mina", "here"), Entry("Mina", "there")),
        places=(Entry("the cave", "closed"),),
        things=(Entry("Tom", "a boat"),),
        plan=("Tom sails", "Mina meets Tom", "Mina goes to the cave"),
    )
    assert contradictions(panel) == [
        "'Mina' is both 'here' and 'there' in people",
        "'Tom' stands in people and in things",
        "'Tom' is dead, but the plan is 'Tom sails'",
        "'the cave' is closed, but the plan is 'Mina goes to the cave'",
    ]
