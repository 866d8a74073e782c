"""Laws of panels: text and JSON give the panel back, a patch makes the one panel of the other."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heedful.errors import UserError
from heedful.panels import budget, changes, exchange, requests, score, text
from heedful.panels.panel import FIELDS, Entry, Panel
from panels.panel_strategies import panels

LANGS = st.sampled_from(["en", "zh"])
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
one = LANGS.flatmap(panels)
two = LANGS.flatmap(lambda lang: st.tuples(panels(lang), panels(lang)))


def items(panel: Panel) -> dict[str, set[object]]:
    return {field: set(getattr(panel, field)) for field in FIELDS}


@quick
@given(one)
def test_the_text_of_a_panel_is_the_panel(panel: Panel) -> None:
    assert text.parse(text.render(panel), panel.lang) == panel


@quick
@given(one)
def test_json_is_the_panel(panel: Panel) -> None:
    assert exchange.from_json(json.loads(json.dumps(exchange.to_json(panel)))) == panel


@quick
@given(two)
def test_a_patch_makes_the_one_of_the_other(pair: tuple[Panel, Panel]) -> None:
    before, after = pair
    made, bad = changes.apply(before, changes.patch(before, after))
    assert not bad
    assert items(made) == items(after)
    assert made.plan == after.plan
    assert made.short_memory == after.short_memory


@quick
@given(one)
def test_nothing_changes_between_a_panel_and_itself(panel: Panel) -> None:
    assert changes.diff(panel, panel) == []
    assert changes.patch(panel, panel) == ""


@quick
@given(two)
def test_a_locked_field_stays_whatever_the_patch_says(pair: tuple[Panel, Panel]) -> None:
    before, after = pair
    made, _ = changes.apply(before, changes.patch(before, after), locked=("people", "short_memory"))
    assert made.people == before.people
    assert made.short_memory == before.short_memory
    assert items(made)["things"] == items(after)["things"]


@quick
@given(one, st.integers(0, 120))
def test_a_budget_is_kept_and_every_dropped_line_is_said(panel: Panel, limit: int) -> None:
    kept, dropped = budget.fit(panel, len, limit)
    assert len(text.render(kept)) <= limit
    lines = text.render(kept).split("\n") if text.render(kept) else []
    assert sorted([*lines, *(d.line for d in dropped)]) == sorted(
        filter(None, text.render(panel).split("\n"))
    )
    assert bool(budget.said(dropped, panel.lang)) == bool(dropped)


@quick
@given(one)
def test_a_panel_found_whole_scores_one(panel: Panel) -> None:
    hits = score.overall(score.compare(panel, panel))
    assert hits.f1 in (None, 1.0)
    assert score.overall(score.compare(Panel(lang=panel.lang), panel)).recall in (None, 0.0)


def test_the_text_reads_as_written_here() -> None:
    panel = Panel(
        people=(Entry("Mina", "in the mill"), Entry("Tom")),
        things=(Entry("the key: old", "lost"),),
        rules=("nobody lies",),
        plan=("Mina finds the key",),
    )
    assert text.render(panel) == (
        "person Mina: in the mill\nperson Tom\nthing the key\\: old: lost\nrule nobody lies\nplan Mina finds the key"
    )


def test_a_patch_says_only_what_changed() -> None:
    before = Panel(people=(Entry("Mina", "in the mill"), Entry("Tom", "ill")), short_memory=("Mina came",))
    after = Panel(people=(Entry("Mina", "in the barn"),), short_memory=("Mina left", "Tom died"))
    assert changes.patch(before, after) == (
        "lately Mina left\nlately Tom died\ndrop person Tom\nperson Mina: in the barn"
    )
    assert [(c.field, c.name, c.before, c.after) for c in changes.diff(before, after)] == [
        ("people", "Mina", "in the mill", "in the barn"),
        ("people", "Tom", "ill", ""),
        ("short_memory", "", "Mina came", ""),
        ("short_memory", "", "", "Mina left"),
        ("short_memory", "", "", "Tom died"),
    ]


def test_scores_by_hand() -> None:
    true = Panel(people=(Entry("Mina", "in the mill"), Entry("Tom", "dead")), rules=("be kind",))
    found = Panel(people=(Entry("Mina", "in the mill"), Entry("Tom", "ill")))
    hits = score.compare(found, true)["people"]
    assert (hits.precision, hits.recall, hits.f1) == (0.5, 0.5, 0.5)
    whole = score.overall(score.compare(found, true))
    assert (whole.right, whole.found, whole.true) == (1, 2, 3)
    assert whole.f1 == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ({"people": ["Mina"]}, "people.0"),
        ({"peple": []}, "peple"),
        ({"plan": ["  "]}, "white space"),
        ({"version": 2}, "version"),
        ({"lang": "fr"}, "lang"),
    ],
)
def test_json_that_is_no_panel_is_said_to_be_none(data: dict[str, object], word: str) -> None:
    with pytest.raises(UserError, match=word):
        exchange.from_json(data)


def test_a_line_that_is_none_of_a_panel_is_named() -> None:
    with pytest.raises(UserError, match=r"line 2 .*'persn Tom'"):
        text.parse("person Mina\npersn Tom")


def test_an_answer_may_neither_plan_nor_touch_what_is_locked() -> None:
    before = Panel(people=(Entry("Mina", "ill"),), goals=("find the key",), plan=("Mina sleeps",))
    after, bad = requests.updated(
        before, "plan Mina flies\nperson Mina: well\nsome prose\ndrop goal find the key", ["goals"]
    )
    assert after == Panel(people=(Entry("Mina", "well"),), goals=("find the key",))
    assert bad == ["some prose"]


@pytest.mark.parametrize(
    ("answer", "number"),
    [("2", 2), ("I take plan 3.", 3), ("12 or 2", 2), ("9, then 1", 1), ("none", 1), ("", 1)],
)
def test_the_number_that_a_judge_names(answer: str, number: int) -> None:
    assert requests.number_in(answer, 3) == number
