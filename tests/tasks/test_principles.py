"""Principles are files in plain language; what fills a blank is never read as another blank."""

from pathlib import Path

import pytest

from heedful.errors import UserError
from heedful.tasks import principles
from heedful.types import Message, Preference

ASKED = (Message("user", "What is {second}?"),)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_ours_can_compare_criticise_and_revise(lang: str) -> None:
    words = principles.read(None, lang)
    assert len({p.name for p in words.principles}) == len(words.principles) >= 8
    for principle in words.principles:
        text = words.comparison(ASKED, "{first}", "two", principle)[0].content
        assert text.count("What is {second}?") == 1
        assert text.count("{first}") == 1
        assert principle.compare in text
        assert all(choice in text for choice in words.choices)
        assert principle.critique in words.criticism(ASKED, "one", principle)[0].content
        reasons = words.reasons(ASKED, "{first}", "two", principle)
        assert principle.compare in reasons[0].content
        asked, said, last = words.conclusion(reasons, "A, for it is true.")
        assert (asked, said.role, said.content) == (reasons[0], "assistant", "A, for it is true.")
        assert all(choice in last.content for choice in words.choices)
    assert "the remark" in words.revision(ASKED, "one", "the remark")[0].content
    other = principles.read(None, "zh" if lang == "en" else "en")
    assert [p.name for p in words.principles] == [p.name for p in other.principles]


def test_a_dialogue_is_shown_with_its_speakers() -> None:
    turns = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    words = principles.read(None)
    assert (
        "user: a\nassistant: b\nuser: c" in words.comparison(turns, "x", "y", words.principles[0])[0].content
    )


def test_lessons_put_the_chosen_answer_first_and_second_in_turn() -> None:
    words = principles.read(None)
    given = [Preference(ASKED, f"good {i}", f"bad {i}") for i in range(4)]
    lessons = words.lessons(given)
    assert [d.messages[-1].content for d in lessons] == ["A", "B", "A", "B"]
    for number, lesson in enumerate(lessons):
        text = lesson.messages[0].content
        shown_first = text.index(f"good {number}") < text.index(f"bad {number}")
        assert shown_first == (lesson.messages[-1].content == "A")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("compare: '{conversation} {first}'\nprinciples: [{compare: x}]", r"compare must hold \{second\}"),
        ("compare: '{conversation} {first} {second}'\n", "principles must be a list"),
        (
            "compare: '{conversation} {first} {second}'\nconclude: x\nprinciples: [{compare: x}]",
            "reason and conclude go together",
        ),
        ("compar: x\n", "Did you mean 'compare'"),
        ("choices: [A, A]\n", "two different words"),
        ("a: [", "not valid YAML"),
        ("- a\n", "key: value lines"),
    ],
)
def test_a_faulty_file_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        principles.read(path)
    with pytest.raises(UserError, match="cannot be read"):
        principles.read(tmp_path / "none.yaml")
