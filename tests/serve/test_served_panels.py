"""Panels by a server of ours: read, held to their form, streamed, and counted as the server counts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.panel_kit import STEPS, TOKENIZER, policy
from heedful.data import chat, files
from heedful.engine.panel_author import KEY as KEY_NAME
from heedful.engine.panel_author import open_author
from heedful.nn import hub
from heedful.panels import desk, grammar, requests
from heedful.panels.desk import Ask
from heedful.panels.exchange import step_of
from heedful.panels.panel import Panel
from heedful.panels.text import parse_line
from heedful.stages import panel_extract
from heedful.stages.panel_extract import PanelExtractConfig
from heedful.web.author import Author
from serve.live import KEY, Live, serving


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    pytest.importorskip("llguidance")
    folder = tmp_path_factory.mktemp("served") / "model"
    chat.ensure_chat_template(TOKENIZER)
    hub.save_model(folder, policy().model, TOKENIZER)
    with serving(model=str(folder), name="model") as server:
        yield server


def test_a_book_is_read_and_costs_what_the_server_counts(
    live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_NAME, KEY)
    book = tmp_path / "book.txt"
    book.write_text("\n\n".join(s.passage for s in STEPS[:3]))
    settings: dict[str, Any] = {"retries": 0, "panel_tokens": 4000, "price_in": 1e6, "characters": 10}
    result = panel_extract.main(
        PanelExtractConfig(model="model", server=live.v1, data=book, output=tmp_path / "out", **settings)
    )
    steps = [step_of(row.data) for row in files.read_rows(tmp_path / "out" / "steps.jsonl")]
    assert len(steps) >= 3
    shown = [Panel(), *(s.after.without("plan") for s in steps)]
    prompts = [
        chat.render_prompt(TOKENIZER, requests.update(panel, s.passage, explained=True))
        for panel, s in zip(shown, steps, strict=False)
    ]
    assert result["requests"] == len(steps)
    assert result["prompt_tokens"] == result["cost"] == sum(map(len, prompts))


def test_the_terminal_hears_the_passage_that_it_would_be_given(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_NAME, KEY)
    who = open_author("model", live.v1)
    ask = Ask("write", requests.write(STEPS[1].before))
    how: dict[str, Any] = {"temperature": 0.0, "max_completion_length": 24, "seed": (0,)}
    pieces = list(who.pieces(ask, **how))
    assert len(pieces) > 1
    ((whole,),) = who.answer([ask], **how)
    assert "".join(pieces).strip() == whole


def test_the_desk_is_given_lines_of_a_panel(live: Live) -> None:
    who = Author(live.v1, KEY)
    ask = Ask(
        "update", requests.update(Panel(), "Mina left."), grammar.Form("(lately|goal) [a-z]{1,9}", 1, 2), 2
    )
    for answer in who.answers(ask, temperature=1.0):
        assert all(parse_line(line, "en") for line in answer.split("\n"))
    assert who.held
    story = desk.choose(desk.begin("x", Panel()), ["Mina leaves"])
    assert "".join(who.pieces(desk.ask_write(story), temperature=0))
