"""The chat page in a browser: by keyboard, by pointer, on a phone; a model's text is text."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_kit import Tab, tab
from model_kit import EVIL, Model, model_server, talking
from playwright.sync_api import Browser, expect
from web_kit import Running

from heedful.data.store import wild


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with model_server() as made:
        yield made


@pytest.fixture
def server(tmp_path: Path, model: Model) -> Iterator[Running]:
    with talking(tmp_path, model.url) as made:
        yield made


def at_chat(t: Tab) -> None:
    t.open("/chat")
    t.page.wait_for_selector("body[data-ready]")


def said(t: Tab, text: str) -> None:
    t.page.locator("#text").fill(text)
    t.press("Control+Enter")
    expect(t.page.locator("#stop")).to_be_hidden()


def pictured(t: Tab, name: str) -> None:
    """Keep a picture of the page in the folder that HEEDFUL_SCREENSHOTS names, for the documentation."""
    if place := os.environ.get("HEEDFUL_SCREENSHOTS"):
        t.page.screenshot(path=Path(place) / f"{name}.png")


def waiting(server: Running, number: int, t: Tab) -> list[wild.WildJudgement]:
    for _ in range(400):
        if len(found := wild.listed(server.studio.store)) >= number:
            return found
        t.page.wait_for_timeout(25)
    raise AssertionError("the judgement did not arrive")


def test_by_keyboard_alone(server: Running, chrome: Browser, model: Model) -> None:
    with tab(chrome, server, "ann") as t:
        at_chat(t)
        t.press("i")
        t.page.keyboard.type("hello")
        t.press("Control+Enter")
        answer = t.page.locator(".written .text")
        expect(answer).to_contain_text("north says: hello")
        t.press("Escape", "6")
        (rating,) = waiting(server, 1, t)
        assert (rating.kind, rating.value, rating.answers[0].model) == ("rating", 6, "north")
        t.press("r")
        expect(t.page.locator(".written .text")).to_have_count(2)
        expect(t.page.locator(".judge button", has_text="The right one")).to_be_visible()
        t.press("ArrowRight")
        compared = waiting(server, 2, t)[-1]
        assert (compared.kind, compared.value) == ("comparison", -2)
        t.press("e")
        expect(t.page.locator("#text")).to_have_value("hello")
        said(t, "hello again")
        assert [m["content"] for m in model.asked[-1]["messages"]] == ["hello again"]


def test_settings_system_prompt_blind_pairs_and_export(
    server: Running, chrome: Browser, model: Model
) -> None:
    with tab(chrome, server, "ann") as t:
        at_chat(t)
        t.page.locator("#other").select_option(label="two at random, blind")
        t.page.locator("summary", has_text="Settings").click()
        t.page.locator("#system").fill("be brief")
        t.page.locator("#seed").fill("42")
        said(t, "a river")
        expect(t.page.locator(".written .text")).to_have_count(2)
        assert model.asked[-1]["messages"][0] == {"role": "system", "content": "be brief"}
        assert model.asked[-1]["seed"] == 42
        expect(t.page.locator(".written bdi")).to_have_count(0)
        t.act(t.page.locator(".judge button", has_text="The left one"))
        expect(t.page.locator(".written bdi")).to_have_count(2)
        waiting(server, 1, t)
        pictured(t, "chat")
        with t.page.expect_download() as download:
            t.act("#export")
        exported = json.loads(download.value.path().read_text())
        assert [m["role"] for m in exported["messages"]] == ["user", "assistant"]
        assert exported["messages"][1]["preference"] == 2
        assert {a["model"] for a in exported["messages"][1]["answers"]} == {"north", "south"}


def test_stop_keeps_what_was_written(server: Running, chrome: Browser, model: Model) -> None:
    with tab(chrome, server, "ann") as t:
        at_chat(t)
        t.page.locator("#text").fill("long")
        t.press("Control+Enter")
        expect(t.page.locator(".written .text")).to_contain_text("on and on")
        t.act("#stop")
        expect(t.page.locator(".trouble")).to_contain_text("stopped")
        assert "on and on" in t.page.locator(".written .text").inner_text()
        assert t.page.locator(".written .judge").count() == 0


def test_a_models_text_is_never_html_on_any_page(server: Running, chrome: Browser) -> None:
    with tab(chrome, server, "ann") as t:
        at_chat(t)
        said(t, "evil")
        assert t.page.locator(".written .text").inner_text() == EVIL
        assert t.page.locator(".written img, .written script").count() == 0
        t.act(t.page.locator(".judge button").first)
        waiting(server, 1, t)
    with tab(chrome, server, "rita") as t:
        t.open("/talks")
        expect(t.page.locator(".written .text")).to_have_text(EVIL)
        assert t.page.title() != "broken"
        t.press("a")
        expect(t.page.locator("#count-accepted")).to_have_text("1")
        expect(t.page.locator("#nothing")).to_be_visible()
    (found,) = wild.listed(server.studio.store)
    assert (found.state, found.reviewer) == ("accepted", "rita")


@pytest.mark.parametrize(("language", "send"), [("en", "Send"), ("zh", "发送")])
def test_a_phone_by_touch_in_both_languages(
    server: Running, chrome: Browser, language: str, send: str
) -> None:
    server.studio.accounts.change("bo", language=language)
    with tab(chrome, server, "bo", touch=True, color_scheme="dark") as t:
        at_chat(t)
        expect(t.page.locator("#send")).to_contain_text(send)
        t.page.locator("#text").fill("你好")
        t.act("#send")
        expect(t.page.locator(".written .text")).to_contain_text("says: 你好")
        t.act(t.page.locator(".judge button").nth(1))
        found = waiting(server, 1, t)
        assert found[-1].value == 2
        pictured(t, f"chat-phone-{language}")
        width = t.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, "the page is wider than a phone"
        small = t.page.evaluate(
            "[...document.querySelectorAll('button')].filter(b => b.offsetParent && b.offsetHeight < 30).length"
        )
        assert small == 0
