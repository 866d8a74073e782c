"""`heedful write` as a person uses it: plans, own plans, edits, locks, going back, leaving and coming back."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from engine.panel_kit import author
from heedful.errors import UserError
from heedful.panels import desk
from heedful.stages import write
from heedful.stages.write import Terminal, WriteConfig
from heedful.types import Prompt


def reply(prompt: Prompt, seed: Sequence[Any], number: int) -> str:
    asked = prompt.messages[-1].content
    if asked.endswith("What comes next?"):
        return f"plan Mina does {number}"
    if asked == "What has changed?":
        return f"lately {prompt.messages[-2].content}\nperson Mina: tired"
    plan = [line.removeprefix("plan ") for line in asked.split("\n") if line.startswith("plan ")]
    return ". ".join(plan) + "."


def session(
    folder: Path, lines: list[str], reply: Any = reply, **settings: Any
) -> tuple[desk.Desk, list[str]]:
    """Type lines at the terminal; what is shown comes back as text."""
    config = WriteConfig(model="scripted", output=folder, **{"premise": "Mina wants the key", **settings})
    typed, shown = iter(lines), list[str]()

    def ask(_: str) -> str:
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    who = author(reply)
    story = write.begun(config, who, folder / "story.json")
    console = Console(width=120, force_terminal=False)

    def show(thing: Any) -> None:
        with console.capture() as caught:
            console.print(thing)
        shown.append(caught.get())

    terminal = Terminal(ask, show, shown.append)
    story, _ = write.session(config, who, story, terminal, lambda now: write.save(folder, now))
    return story, shown


def test_a_session_of_every_move(tmp_path: Path) -> None:
    story, _ = session(
        tmp_path,
        [
            "2",
            "Mina sings; Mina sleeps",
            "e people",
            "Mina: well",
            "",
            "l people",
            "1",
            "b",
            "g 1",
            "9",
            "x y",
            "q",
        ],
        consent=True,
    )
    assert [t.passage for t in story.turns] == [
        "",
        "Mina does 1.",
        "Mina sings. Mina sleeps.",
        "Mina does 0.",
        "x y.",
    ]
    assert [t.parent for t in story.turns] == [-1, 0, 1, 2, 1]
    assert story.turns[2].after.people[0].state == "well"
    assert story.turns[3].after.people[0].state == "well"  # locked
    assert story.locked == ("people",)
    kinds = [p.source for p in desk.judgements(story)]
    assert kinds.count("desk-edit") == 1
    assert kinds.count("desk-plan") >= 5


def garbled(prompt: Prompt, seed: Sequence[Any], number: int) -> str:
    """Updates that leave a panel at odds with itself, with a line that is none."""
    if prompt.messages[-1].content == "What has changed?":
        return "thing Mina: a boat\nwell, well"
    return reply(prompt, seed, number)


def test_what_was_not_read_or_not_shown_and_contradictions_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "panel.json").write_text(
        json.dumps({"people": [{"name": "Mina"}], "future": [f"event {n}" for n in range(40)]})
    )
    how: dict[str, Any] = {"reply": garbled, "panel": tmp_path / "panel.json", "panel_tokens": 30}
    story, shown = session(tmp_path / "asked", ["1", "q"], **how)
    said = " ".join(" ".join(shown).replace("│", " ").split())
    assert "the model is not shown" in said
    assert "lines of the update that could not be read: 1" in said
    assert "'Mina' stands under 'person' and under 'thing'" in said
    assert len(story.panel.future) == 40
    # Where nobody is asked, each is said once.
    _, shown = session(tmp_path / "alone", [], choose="first", steps=3, **how)
    assert sum("'Mina' stands" in line for line in shown) == 1
    monkeypatch.setattr(write, "open_author", lambda *_: author(garbled))
    config = WriteConfig(
        model="x", output=tmp_path / "out", choose="first", steps=3, panel=tmp_path / "panel.json"
    )
    result = write.main(config)
    assert (result["unread"], result["contradicting"]) == (3, 3)
    assert "3 updates with lines that could not be read, 3 panels that contradict" in write.line(result)


def test_a_plan_too_long_for_a_request_costs_nothing(tmp_path: Path) -> None:
    story, shown = session(tmp_path, ["Mina does " + "a little more " * 100, "1", "q"])
    assert sum("in fewer words" in line for line in shown) == 1
    assert [t.passage for t in story.turns] == ["", "Mina does 0."]


def test_a_passage_appears_as_it_is_written_unless_it_is_drafted(tmp_path: Path) -> None:
    _, shown = session(tmp_path / "one", ["2", "q"])
    assert "Mina does 1." in shown
    assert shown[shown.index("Mina does 1.") + 1] == "\n\n"
    _, shown = session(tmp_path / "two", ["2", "q"], drafts=2)
    assert "Mina does 1." not in shown


def test_leaving_and_coming_back(tmp_path: Path) -> None:
    first, _ = session(tmp_path, ["1"])
    again, _ = session(tmp_path, ["1", "q"])
    assert [t.passage for t in again.turns[:2]] == [t.passage for t in first.turns]
    assert again.turns[0].before == first.turns[0].before
    assert len(again.turns) == 3


def test_mistakes_are_said_and_cost_nothing(tmp_path: Path) -> None:
    story, shown = session(tmp_path, ["e peple", "g 7", "9", ";", "q"])
    assert len(story.turns) == 1
    assert (
        sum("Did you mean 'people'" in s or "steps are 0 to 0" in s or "plans 1 to 3" in s for s in shown)
        == 3
    )


def test_a_long_story_has_prompts_of_one_length_and_every_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "open_author", lambda *_: author(reply))
    config = WriteConfig(
        model="x",
        output=tmp_path,
        premise="Mina",
        steps=400,
        plans=1,
        title="Long",
        consent=True,
        choose="first",
    )
    result = write.main(config)
    assert result["passages"] == 400
    assert result["words"] == 400 * 3
    assert result["most_prompt_tokens"] < 80
    assert {p.name for p in tmp_path.iterdir()} >= {"story.json", "story.md", "story.epub", "steps.jsonl"}
    assert len((tmp_path / "steps.jsonl").read_text().splitlines()) == 400
    assert json.loads((tmp_path / "story.json").read_text())["title"] == "Long"


def test_a_judge_chooses_the_plan_and_nobody_is_asked(tmp_path: Path) -> None:
    judge = tmp_path / "judge.py"
    judge.write_text("def last(prompts, completions, **_):\n    return [ord(c[-1]) for c in completions]\n")
    story, shown = session(tmp_path / "out", [], choose=f"{judge}:last", steps=2)
    assert desk.passages(story) == ["Mina does 2.", "Mina does 2."]
    assert shown == []
    with pytest.raises(ValueError, match="say how many steps"):
        WriteConfig(model="x", choose="first", output=tmp_path)


def test_there_must_be_something_to_begin_from(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="premise"):
        session(tmp_path, [], premise="")


def test_an_outline_a_text_and_a_panel_are_beginnings(tmp_path: Path) -> None:
    (tmp_path / "outline.txt").write_text("Mina leaves\nMina returns\n")
    (tmp_path / "text.txt").write_text("Mina was born. She grew up.")
    (tmp_path / "panel.json").write_text('{"people": [{"name": "Tom", "state": "ill"}]}')
    story, _ = session(
        tmp_path / "out",
        ["q"],
        outline=tmp_path / "outline.txt",
        text=tmp_path / "text.txt",
        panel=tmp_path / "panel.json",
    )
    assert story.panel.future == ("Mina leaves", "Mina returns")
    assert [e.name for e in story.panel.people] == ["Tom", "Mina"]
    assert desk.passages(story) == ["Mina was born. She grew up."]
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        session(tmp_path / "other", [], panel=tmp_path / "bad.json")
