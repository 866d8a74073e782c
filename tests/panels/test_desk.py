"""The writer's desk: nothing is lost, branches part, locks hold, choices are kept only with consent."""

import io
import json
import zipfile
from xml.etree import ElementTree

import pytest

from heedful.errors import UserError
from heedful.panels import book, desk, exchange
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
    assert other.turn.note == "1 lines of the update could not be read"
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


def test_the_desk_comes_back_from_json() -> None:
    story = desk.choose(desk.begin("x", START, consent=True), ["a"], [["a"], ["b"]])
    story = desk.lock(desk.written(story, "Mina left.", ""), "rules")
    assert desk.from_json(json.loads(json.dumps(desk.to_json(story)))) == story


@pytest.mark.parametrize("change", [{"at": 9}, {"turns": []}, {"locked": ["peple"]}, {"turns": [{}]}])
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


def test_markdown_and_steps_of_a_branch() -> None:
    story = told(desk.begin("Tale", START), "Mina leaves", "Mina left.", "person Mina: away")
    assert book.markdown(story) == "# Tale\n\nMina left.\n"
    (step,) = book.steps(story, "t")
    assert exchange.step_of(json.loads(json.dumps(exchange.step_row(step)))) == step


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
