"""Reading a book into panels: the truth scores one, what never parses is kept and counted, a stopped run goes on."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.api_server import Api, serving
from engine.panel_kit import STEPS, author, knows
from heedful.data import files
from heedful.errors import UserError
from heedful.panels.exchange import step_of, step_row
from heedful.stages import panel_extract
from heedful.stages.panel_extract import PanelExtractConfig, main
from heedful.types import Message, Prompt


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, reply: Any, **settings: Any) -> dict[str, Any]:
    data = folder / "steps.jsonl"
    files.write_jsonl(data, map(step_row, STEPS))
    monkeypatch.setattr(panel_extract, "open_author", lambda *_, **__: author(reply))
    values = {"model": "scripted", "data": data, "output": folder / "out", "panel_tokens": 1000, **settings}
    return main(PanelExtractConfig(**values))


def test_the_true_patch_gives_the_true_panels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(tmp_path, monkeypatch, knows(STEPS), price_in=1.0, price_out=2.0)
    assert result["scores"]["all"]["f1"] == 1.0
    assert set(result["scores"]) >= {"people", "things", "rules", "short_memory", "all"}
    assert (result["unparsed"], result["retries"], result["passages"]) == (0, 0, len(STEPS))
    expected = (result["prompt_tokens"] + 2 * result["completion_tokens"]) / 1e6
    assert result["cost"] == pytest.approx(expected)
    steps = [step_of(row.data) for row in files.read_rows(tmp_path / "out" / "steps.jsonl")]
    true = {(s.story, s.index): s for s in STEPS}
    # What a passage tells is the plan that it is said to have been written to.
    assert all(s.before.plan == true[s.story, s.index].before.plan for s in steps)
    assert all(s.after == true[s.story, s.index].after for s in steps if s.index < 3)


def test_what_never_parses_is_counted_and_the_passage_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, broken = knows(STEPS), STEPS[2].passage

    def reply(prompt: Prompt, seed: Sequence[Any], number: int) -> str:
        return "I am sorry." if broken in prompt.messages[-2].content else true(prompt, seed, number)

    result = run(tmp_path, monkeypatch, reply, retries=3)
    assert (result["unparsed"], result["retries"], result["bad_lines"]) == (1, 3, 1)
    steps = [step_of(row.data) for row in files.read_rows(tmp_path / "out" / "steps.jsonl")]
    assert [s.passage for s in steps] == [s.passage for s in STEPS]
    assert steps[2].after.people == steps[2].before.people
    assert 0 < result["scores"]["all"]["f1"] < 1


def test_a_second_try_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true = knows(STEPS)

    def reply(prompt: Prompt, seed: Sequence[Any], number: int) -> str:
        return true(prompt, seed, number) if seed[-1] == 1 else "well, well"

    result = run(tmp_path, monkeypatch, reply)
    assert (result["unparsed"], result["retries"]) == (0, len(STEPS))
    assert result["scores"]["all"]["f1"] == 1.0


def test_a_run_that_was_stopped_asks_for_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, asked = knows(STEPS), list[str]()

    def dies(prompt: Prompt, seed: Sequence[Any], number: int) -> str:
        if len(asked) == 5:
            raise KeyboardInterrupt
        asked.append(prompt.messages[-2].content)
        return true(prompt, seed, number)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, monkeypatch, dies, slots=1)
    journal = tmp_path / "out" / "read.jsonl"
    journal.write_text(journal.read_text() + '{"story": "s1", "ind')  # a line that the death cut short
    before = len(asked)

    def goes_on(prompt: Prompt, seed: Sequence[Any], number: int) -> str:
        asked.append(prompt.messages[-2].content)
        return true(prompt, seed, number)

    result = run(tmp_path, monkeypatch, goes_on, slots=1)
    assert len(asked) == len(STEPS)
    assert before == 5
    assert result["scores"]["all"]["f1"] == 1.0
    assert result["requests"] == len(STEPS)
    assert not journal.exists()


def test_a_panel_too_long_is_cut_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(tmp_path, monkeypatch, knows(STEPS), panel_tokens=12)["dropped_lines"] > 0


def test_a_book_of_plain_text_is_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = tmp_path / "book.txt"
    book.write_text("Mina came. " * 30 + "\n\nTom left. " * 30)
    monkeypatch.setattr(panel_extract, "open_author", lambda *_, **__: author(lambda *_: "person Mina: here"))
    config = PanelExtractConfig(model="x", data=book, output=tmp_path / "out", characters=200)
    result = main(config)
    rows = [json.loads(line) for line in (tmp_path / "out" / "steps.jsonl").read_text().splitlines()]
    assert result["passages"] == len(rows) > 2
    assert result["scores"] == {}
    assert rows[-1]["after"]["people"] == [{"name": "Mina", "state": "here"}]
    assert rows[0]["source"] == "model"


def test_a_row_that_is_no_step_is_named(tmp_path: Path) -> None:
    data = tmp_path / "steps.jsonl"
    data.write_text('{"story": "a", "index": 0, "passage": "x", "before": {"peple": []}, "after": {}}\n')
    config = PanelExtractConfig(model="x", data=data, output=tmp_path / "out")
    with pytest.raises(UserError, match=r"line 1 .*peple"):
        main(config)


def test_a_reader_by_rule_needs_no_model(tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text(
        "The old king called Mina. Then the king gave Mina a golden lantern.\n\n"
        "Later that day Mina and Tom sailed. The king was sad, and Tom's boat was leaking."
    )
    main(PanelExtractConfig(model="rule", data=book, output=tmp_path / "out", characters=90))
    steps = [step_of(row.data) for row in files.read_rows(tmp_path / "out" / "steps.jsonl")]
    assert [e.name for e in steps[1].after.people] == ["Mina", "Tom"]
    assert [s.source for s in steps] == ["rule", "rule"]
    assert steps[1].before.plan == steps[1].after.short_memory
    assert steps[0].after.plan == steps[1].before.plan


def test_a_reader_by_rule_reads_no_chinese(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="which Chinese has not: name a model"):
        PanelExtractConfig(model="rule", lang="zh", data=tmp_path / "book.txt", output=tmp_path / "out")


def test_a_server_reads_and_its_own_count_of_tokens_is_the_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "steps.jsonl"
    files.write_jsonl(data, map(step_row, STEPS))
    true = knows(STEPS)

    def reply(api: Api, number: int, body: dict[str, Any]) -> None:
        asked = tuple(Message(m["role"], m["content"]) for m in body["messages"] if m["role"] != "system")
        said = json.dumps({"lines": true(Prompt("", asked), (), 0).split("\n")})
        choice = {"message": {"content": said}, "finish_reason": "stop"}
        api.reply({"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 7}})

    with serving(reply) as (url, seen):
        monkeypatch.setenv("HEEDFUL_API_KEY", "key")
        settings: dict[str, Any] = {"panel_tokens": 1000, "price_in": 10.0, "price_out": 100.0}
        result = main(
            PanelExtractConfig(model="m", server=url, data=data, output=tmp_path / "out", **settings)
        )
    assert result["scores"]["all"]["f1"] == 1.0
    assert (result["prompt_tokens"], result["completion_tokens"]) == (100 * len(STEPS), 7 * len(STEPS))
    assert result["cost"] == pytest.approx(len(STEPS) * (100 * 10 + 7 * 100) / 1e6)
    assert all(body["response_format"]["type"] == "json_schema" for _, _, body in seen)
    assert all(headers["Authorization"] == "Bearer key" for _, headers, _ in seen)
