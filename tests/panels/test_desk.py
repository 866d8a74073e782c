"""The writer's desk: nothing is lost, branches part, locks hold, choices are kept only with consent."""

import io
import json
import zipfile
from functools import partial
from xml.etree import ElementTree

import pytest

from heedful.errors import UserError
from heedful.panels import book, budget, desk, exchange, requests
from heedful.panels.panel import Entry, Panel

START = Panel(people=(Entry("Mina", "in the mill"),), goals=("find the key",))


def told(story: desk.Desk, plan: str, passage: str, patch: str) -> desk.Desk:
    return desk.written(desk.choose(story, [plan]), passage, patch)


def test_a_story_branches_and_both_branches_stay() -> None:
    story = told(desk.begin("A  tale", START), "Mina leaves", "Mina left.", "person Mina: away")
    story = told(story, "Mina returns", "Mina came back.", "person Mina: in the mill\nlately Mina came back")
    other = told(desk.back(story), "Mina sings", "Mina sang.", "nonsense")
    assert desk.passages(story) == ["Mina left.", "Mina came back."]
    assert desk.passages(other) == ["Mina left.", "Mina sang."]
    assert other.turn.note == "lines of the update that could not be read: 1"
    assert desk.passages(desk.go(other, 2)) == ["Mina left.", "Mina came back."]
    assert other.panel.people == (Entry("Mina", "away"),)
    assert other.title == "A tale"


def test_the_plan_is_gone_once_it_is_written_and_a_locked_field_stays() -> None:
    story = desk.lock(desk.choose(desk.begin("x", START), ["Mina leaves"]), "people")
    story = desk.written(story, "Mina left.", "person Mina: away\nplan Mina flies")
    assert story.panel == START
    assert story.turn.before.plan == ("Mina leaves",)
    assert desk.lock(story, "people", False).locked == ()


def test_choices_and_edits_are_preferences_with_consent_only() -> None:
    def run(consent: bool) -> desk.Desk:
        story = desk.begin("x", START, consent=consent)
        story = desk.choose(story, ["Mina leaves"], [["Mina leaves"], ["Mina sleeps"], ["Mina sings"]])
        story = desk.written(story, "Mina left.", "person Mina: lost")
        return desk.edit(story, story.panel.with_field("people", (Entry("Mina", "away"),)))

    assert desk.judgements(run(False)) == []
    assert run(False).choices == ()
    plans = desk.judgements(run(True))
    assert [(p.chosen, p.rejected) for p in plans] == [
        ("plan Mina leaves", "plan Mina sleeps"),
        ("plan Mina leaves", "plan Mina sings"),
        ("person Mina: away", "person Mina: lost"),
    ]
    assert plans[0].messages[-1].content.endswith("What comes next?")
    assert "plan" not in plans[0].messages[0].content
    assert [m.role for m in plans[2].messages] == ["user", "assistant", "user"]


def test_an_edit_belongs_to_the_step_on_which_it_was_made() -> None:
    story = told(desk.begin("x", START, consent=True), "Mina leaves", "Mina left.", "person Mina: lost")
    story = told(desk.back(story), "Mina leaves", "Mina ran away.", "person Mina: lost")
    assert story.turns[1].before == story.turns[2].before
    story = desk.edit(story, story.panel.with_field("people", (Entry("Mina", "away"),)))
    (judged,) = desk.judgements(story)
    assert judged.messages[1].content == "Mina ran away."
    assert (judged.chosen, judged.rejected) == ("person Mina: away", "person Mina: lost")


def test_edits_of_a_beginning_and_of_a_plan_are_judgements_too() -> None:
    story = desk.begin("The kite", START, consent=True)
    story = desk.edit(story, story.panel.with_field("rules", ("be brief",)))
    story = desk.edit(
        story, story.panel.with_field("plan", ("Mina leaves",))
    )  # there was none to prefer it to
    story = desk.edit(story, story.panel.with_field("plan", ("Mina sings", "Tom comes")))
    begun, planned = desk.judgements(story)
    assert begun.messages[0].content == "The kite\nWhat does it begin from?"
    assert begun.rejected == "person Mina: in the mill\ngoal find the key"
    assert begun.chosen == "person Mina: in the mill\nrule be brief\ngoal find the key"
    assert planned.messages == requests.plan(story.panel)
    assert (planned.chosen, planned.rejected) == ("plan Mina sings\nplan Tom comes", "plan Mina leaves")
    assert story.turn.edited


def test_only_the_request_is_short_and_the_story_keeps_every_line() -> None:
    many = START.with_field("long_memory", [f"fact {n}" for n in range(50)])
    many = many.with_field("rules", ("never laugh",) * 30)
    fit = partial(budget.shown, length=len, limit=120)
    story = desk.lock(desk.begin("x", many), "rules")
    asked = [desk.ask_plan(story, fit=fit)]
    story = desk.choose(story, ["Mina leaves"])
    asked += [desk.ask_write(story, fit=fit), desk.ask_update(story, "Mina left.", fit=fit)]
    assert all(len(a.messages[0].content) < 150 for a in asked)
    assert all("plan Mina leaves" in a.messages[0].content for a in asked[1:])
    story = desk.written(story, "Mina left.", "person Mina: away\nmemory Mina left")
    assert story.panel.rules == many.rules
    assert story.panel.long_memory == (*many.long_memory, "Mina left")
    assert story.turn.before.long_memory == many.long_memory
    long = desk.choose(story, ["Mina goes on and on " * 10])
    with pytest.raises(UserError, match="in fewer words"):
        desk.ask_write(long, fit=fit)


def test_what_is_noted_is_said_in_the_language_of_the_story() -> None:
    zh = desk.begin("x", Panel(people=(Entry("米娜", "在磨坊里"),), lang="zh"))
    zh = desk.written(desk.choose(zh, ["米娜唱歌"]), "米娜唱歌。", "胡说\n人物 米娜：在家里")
    assert zh.turn.note == "更新中有 1 行读不懂"
    _, dropped = budget.fit(zh.panel.with_field("future", ("甲", "乙")), len, 12)
    assert "“以后”2 行" in budget.said(dropped, "zh")
    assert budget.said(dropped, "en").startswith("the panel is too long for one request")


def test_the_desk_comes_back_from_json() -> None:
    story = desk.choose(desk.begin("x", START, consent=True), ["a"], [["a"], ["b"]])
    story = desk.lock(desk.written(story, "Mina left.", ""), "rules")
    assert desk.from_json(json.loads(json.dumps(desk.to_json(story)))) == story


NOWHERE = {"kind": "plan", "turn": 5, "panel": {}, "chosen": "a", "others": []}


@pytest.mark.parametrize(
    "change", [{"at": 9}, {"turns": []}, {"locked": ["peple"]}, {"turns": [{}]}, {"choices": [NOWHERE]}]
)
def test_json_that_is_no_desk_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UserError):
        desk.from_json({**desk.to_json(desk.begin("x", START)), **change})


def test_what_cannot_be_done_is_said() -> None:
    story = desk.begin("x", START)
    with pytest.raises(UserError, match="no plan"):
        desk.ask_write(story)
    with pytest.raises(UserError, match="steps are 0 to 0"):
        desk.go(story, 1)
    with pytest.raises(UserError, match="Did you mean 'people'"):
        desk.lock(story, "peoples")
    with pytest.raises(UserError, match="wrote nothing"):
        desk.written(story, "  ", "")


def test_an_answer_that_is_no_plan_is_taken_line_by_line() -> None:
    story = desk.begin("x", START)
    assert desk.plans(
        story, ["plan Mina leaves\nplan Tom comes", "Mina sleeps.\n\n", "plan Mina leaves\nplan Tom comes"]
    ) == [
        ("Mina leaves", "Tom comes"),
        ("Mina sleeps.",),
    ]


def test_an_epub_is_well_formed_and_holds_every_passage() -> None:
    data = book.epub("A <tale> & more", ["Mina left.", "Tom said: “5 < 6”.\nThen he slept."], "en")
    assert data == book.epub("A <tale> & more", ["Mina left.", "Tom said: “5 < 6”.\nThen he slept."], "en")
    with zipfile.ZipFile(io.BytesIO(data)) as pages:
        first = pages.infolist()[0]
        assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
        assert pages.read("mimetype") == b"application/epub+zip"
        trees = {n: ElementTree.fromstring(pages.read(n)) for n in pages.namelist() if n != "mimetype"}
    said = [e.text for e in trees["OEBPS/text.xhtml"].iter() if e.tag.endswith("}p")]
    assert said == ["Mina left.", "Tom said: “5 < 6”.", "Then he slept."]
    assert trees["META-INF/container.xml"].find(".//*[@full-path='OEBPS/content.opf']") is not None


def test_what_xml_may_not_hold_is_left_out_of_an_epub() -> None:
    data = book.epub("A\x00\x1b tale\ud800", ["Mina\x08 left.\ufffe\nShe\tran \U0001f600\x85."])
    with zipfile.ZipFile(io.BytesIO(data)) as pages:
        texts = [ElementTree.fromstring(pages.read(n)) for n in pages.namelist() if n.endswith("ml")]
    said = [e.text for tree in texts for e in tree.iter() if e.tag.endswith(("}p", "}h1"))]
    assert said == ["A tale", "Mina left.", "She\tran \U0001f600\x85."]


def test_markdown_and_steps_of_a_branch() -> None:
    story = told(
        desk.begin("Tale", START, condition="good"), "Mina leaves", "Mina left.", "person Mina: away"
    )
    assert book.markdown(story) == "# Tale\n\nMina left.\n"
    (step,) = book.steps(story, "t")
    assert exchange.step_of(json.loads(json.dumps(exchange.step_row(step)))) == step
    assert (step.condition, step.source, step.model) == ("good", "model", "")
    (step,) = book.steps(desk.edit(story, START), "t", "tiny")
    assert (step.source, step.model) == ("person", "tiny")


def test_a_book_is_cut_into_whole_sentences_and_nothing_is_lost() -> None:
    text = "One came. Two left! " * 20 + "\n\nA new paragraph。第二句！" + "\n\n" + "x" * 300 + " end."
    parts = book.split(text, 120)
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(len(p) <= 120 or "x" * 300 in p for p in parts)
    assert all(p[-1] in ".!。！" for p in parts)


@pytest.mark.parametrize(
    ("text", "words"), [("It's a well-made kite.", 4), ("米娜走了。Tom left", 6), ("", 0)]
)
def test_words(text: str, words: int) -> None:
    assert book.words(text) == words
