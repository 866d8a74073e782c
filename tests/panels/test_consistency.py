"""What the rules mark, and what they leave alone."""

import pytest

from heedful.panels import changes
from heedful.panels.consistency import contradictions, marks, misread, put_right
from heedful.panels.panel import Entry, Panel
from heedful.world import saga

PANEL = Panel(
    people=(Entry("Mina", "in the mill"), Entry("Tom", "dead")),
    places=(Entry("the cave", "closed"),),
    things=(Entry("the kite", "in the barn"),),
    long_memory=("Mina comes from the orchard",),
)


@pytest.mark.parametrize(
    ("passage", "why"),
    [
        ("Mina was in the mill.", []),
        ("Mina was in the barn.", ["Mina is in the mill"]),
        ("Tom laughed.", ["Tom is dead"]),
        ("Tom was dead.", []),
        ("Tom laughed at her from the gate.", ["Tom is dead"]),
        ("That night Tom died.", ["Tom is dead"]),
        ("Tom had died in the mill.", []),
        ("That night Mina died. Then Mina died.", ["Mina is dead"]),
        ("Tom came from the orchard.", []),
        ("Mina thought of Tom.", []),
        ("The kite lay in the mill.", ["the kite is in the barn"]),
        ("Mina put the kite in the mill. The kite lay in the mill.", []),
        ("Mina went to the cave.", ["the cave is closed"]),
        ("Minas were in the barn.", []),
        ("All this time Mina was in the barn.", ["Mina is in the mill"]),
        ("Now the kite lay in the mill.", ["the kite is in the barn"]),
        ("Once more Carmina was in the barn.", []),
        ("Long ago Mina came from the mill.", ["Mina comes from the orchard"]),
        ("Of old Mina hailed from the orchard.", []),
        ("Tom came from the mill.", []),
        ("All this time Tom was in the mill.", ["Tom is dead"]),
        ("Sadly Mina was dead.", ["Mina is in the mill"]),
        ("That night Mina died. Now Mina was dead.", []),
        ("Long ago Mina came from the orchard. Mina was in the barn.", ["Mina is in the mill"]),
        ("Ever Mina wanted the kite. The kite was in the mill.", ["the kite is in the barn"]),
        ("Then Tom laughed.", ["Tom is dead"]),
        ("Then Mina spoke with Tom.", ["Tom is dead"]),
        ("Mina went to the barn. Now Mina was in the mill.", ["Mina is in the barn"]),
        ("Mina put the kite in the mill. The kite lay in the barn.", ["the kite is in the mill"]),
        ("Mina put the kite in the mill. The kite was in the mill. Mina was in the barn.", []),
        ("Mina spoke to the kite. The kite was in the mill.", []),
        ("That night Mina died. Then Mina went to the mill.", ["Mina is dead"]),
        ("The kite was in the mill. Mina was in the mill.", ["the kite is in the barn"]),
    ],
)
def test_marks(passage: str, why: list[str]) -> None:
    found = marks(PANEL, passage)
    assert [m.why for m in found] == why
    assert all(passage[m.start : m.end].strip() == passage[m.start : m.end] for m in found)


@pytest.mark.parametrize(
    ("passage", "patch", "who"),
    [
        ("Mina went to the barn.", "person Mina: in the barn", []),
        ("Mina went to the barn.", "person Mina: in the cave", ["Mina"]),
        ("Mina went to the barn.", "", ["Mina"]),
        ("Mina sang.", "person Mina: in the cave", []),  # she may have gone there
        ("Mina was in the mill.", "thing the kite: in the mill", ["the kite"]),
        ("Mina put the kite in the mill.", "thing the kite: in the mill\nperson Mina: dead", []),
        ("That night Mina died.", "person Mina: dead", []),
        ("That night Mina died.", "person Mina: in the barn", ["Mina"]),
        ("The kite lay in the barn.", "person Tom: in the barn", ["Tom"]),
    ],
)
def test_misread(passage: str, patch: str, who: list[str]) -> None:
    after, bad = changes.apply(PANEL, patch)
    assert not bad
    assert misread(PANEL, passage, after) == who
    mended = after
    for field, entry in put_right(PANEL, passage, after):
        mended = mended.with_field(
            field, [entry if e.name == entry.name else e for e in mended.entries(field)]
        )
    assert misread(PANEL, passage, mended) == []
    assert (mended == after) == (not who)


def test_in_chinese_too_the_dead_do_not_die_again() -> None:
    panel = Panel(people=(Entry("小明", "已死"),), lang="zh")
    assert [m.why for m in marks(panel, "那天夜里小明死了。小明已经死了。")] == ["小明已死"]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_true_stories_are_not_marked(lang: str) -> None:
    for number in range(4):
        for p in saga.saga(lang, 0, number, 30):  # type: ignore[arg-type]
            assert contradictions(p.before) == []
            assert marks(p.before, p.text) == []
            assert misread(p.before, p.text, p.after) == []


def test_a_panel_against_itself() -> None:
    panel = Panel(
        people=(Entry("Tom", "dead"), Entry("Mina", "here"), Entry("Mina", "there")),
        places=(Entry("the cave", "closed"),),
        things=(Entry("Tom", "a boat"),),
        plan=("Tom sails", "Mina meets Tom", "Mina goes to the cave"),
    )
    assert contradictions(panel) == [
        "'Mina' is both 'here' and 'there' under 'person'",
        "'Tom' stands under 'person' and under 'thing'",
        "'Tom' is dead, but the plan is 'Tom sails'",
        "'Tom' is dead, but the plan is 'Mina meets Tom'",
        "'the cave' is closed, but the plan is 'Mina goes to the cave'",
    ]


ZH = Panel(
    people=(Entry("米娜", "在磨坊里"), Entry("汤姆", "死了")),
    places=(Entry("山洞", "关闭"),),
    things=(Entry("风筝", "在谷仓里"),),
    long_memory=("米娜来自果园",),
    lang="zh",
)


@pytest.mark.parametrize(
    ("passage", "why"),
    [
        ("米娜在磨坊里。", []),
        ("米娜在谷仓里。", ["米娜在磨坊"]),
        ("如今米娜在谷仓里。", ["米娜在磨坊"]),
        ("汤姆笑了。", ["汤姆已死"]),
        ("汤姆已经死了。", []),
        ("汤姆曾笑过。", []),
        ("米娜遇见了汤姆。", ["汤姆已死"]),
        ("米娜去了山洞。", ["山洞去不得"]),
        ("风筝在磨坊里。", ["风筝在谷仓"]),
        ("米娜去了谷仓。如今米娜在谷仓里。", []),
        ("米娜去了谷仓。如今米娜在磨坊里。", ["米娜在谷仓"]),
        ("米娜来自磨坊。", ["米娜来自果园"]),
        ("米娜来自果园。", []),
        ("米娜想要风筝。", []),
        ("米娜已经死了。", ["米娜在磨坊里"]),
    ],
)
def test_marks_in_chinese(passage: str, why: list[str]) -> None:
    found = marks(ZH, passage)
    assert [m.why for m in found] == why
    assert all(passage[m.start : m.end].strip() == passage[m.start : m.end] for m in found)


def test_a_chinese_panel_against_itself() -> None:
    panel = ZH.with_field("plan", ("汤姆唱歌", "米娜去山洞")).with_field("things", (Entry("米娜", "船"),))
    assert contradictions(panel) == [
        "“米娜”既在“人物”中，又在“物品”中",
        "“汤姆”已死，计划却是“汤姆唱歌”",
        "“山洞”去不得，计划却是“米娜去山洞”",
    ]
