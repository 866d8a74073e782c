"""Undo, revision, drafts, flags, skips, conflicts, and an outbox that outlives the server."""

from pathlib import Path

import pytest
from browser_kit import tab
from playwright.sync_api import Browser
from web_kit import QUESTIONS, Running

from heedful.data.store import Store


@pytest.fixture
def comparing(server: Running) -> Running:
    """A studio that asks for comparisons only."""
    for other in QUESTIONS:
        if other != "compare":
            server.studio.queue.set_state(f"q-{other}", "paused")
    return server


def _choices(store: Store) -> list[int]:
    return [one.preference for one in store.comparisons()]


def test_undo_brings_the_task_back_with_its_reply(chrome: Browser, comparing: Running) -> None:
    with tab(chrome, comparing, "ann") as t:
        t.open()
        shown = t.page.inner_text(".answers")
        t.press("1", "Enter")
        t.page.wait_for_function(
            "shown => document.querySelector('.answers')?.innerText !== shown", arg=shown
        )
        t.press("z")
        t.page.wait_for_function(
            "shown => document.querySelector('.answers')?.innerText === shown", arg=shown
        )
        assert list(comparing.studio.store.comparisons()) == []
        assert t.page.locator(".choice input").nth(0).is_checked()
        t.press("7", "Enter")
        t.stored(2)
        t.page.wait_for_function(
            "shown => document.querySelector('.answers')?.innerText !== shown", arg=shown
        )
    assert len(_choices(comparing.studio.store)) == 1


def test_an_earlier_answer_is_revised(chrome: Browser, comparing: Running) -> None:
    with tab(chrome, comparing, "ann") as t:
        t.open()
        t.press("1", "Enter")
        t.page.locator("#earlier summary").click()
        t.page.wait_for_function("() => document.querySelector('#history').textContent.includes('answered')")
        t.page.locator("#history button", has_text="answered").click()
        t.page.wait_for_selector("#revising:not([hidden])")
        assert t.page.locator(".choice input").nth(0).is_checked()
        t.press("4", "Enter")
        t.page.wait_for_selector("#revising", state="hidden")
    assert _choices(comparing.studio.store) == [0]


def test_a_draft_survives_a_reload_and_follows_to_another_machine(chrome: Browser, server: Running) -> None:
    server.studio.queue.set_priority("q-demonstrate", 5)
    with tab(chrome, server, "ann") as t:
        t.open()
        t.page.keyboard.type("Half a thought")
        t.page.wait_for_function("() => document.querySelector('#saved').textContent !== ''")
        t.open()
        assert t.page.input_value("#writing") == "Half a thought"
    with tab(chrome, server, "ann") as elsewhere:
        elsewhere.open()
        assert elsewhere.page.input_value("#writing") == "Half a thought"


def test_flags_and_skips(chrome: Browser, comparing: Running) -> None:
    with tab(chrome, comparing, "ann") as t:
        t.open()
        t.press("f")
        t.page.locator("dialog[open] fieldset").nth(2).locator("input").nth(0).check()
        t.press("Escape", "2", "Enter")
        assert t.stored(1)[0]["flags"] == [{"label": "harmful", "answer": 1, "comment": ""}]
        t.page.wait_for_function("() => document.querySelector('#done-today').textContent === '1'")
        t.press("s", "2", "Enter")
        assert t.stored(2)[1]["reason"] == "knowledge"
        t.page.locator("#earlier summary").click()
        t.page.wait_for_function("() => document.querySelector('#history').textContent.includes('skipped')")
    assert len(list(comparing.studio.store.flags())) == 1


def test_two_tabs_with_one_task_meet_in_a_question_not_in_a_loss(chrome: Browser, comparing: Running) -> None:
    with tab(chrome, comparing, "ann", expected=("409",)) as t:
        t.open()
        other = t.context.new_page()
        other.goto(t.origin + "/work")
        other.wait_for_selector("body[data-ready]")
        t.press("1", "Enter")
        t.page.wait_for_function("() => document.querySelector('#done-today').textContent === '1'")
        other.keyboard.press("7")
        other.keyboard.press("Enter")
        other.locator("dialog[open] .primary").click()
        other.wait_for_function("() => !document.querySelector('dialog[open]')")
        other.wait_for_function("() => document.querySelector('#done-today').textContent === '1'")
        other.wait_for_timeout(300)
    ratings = list(comparing.studio.store.comparisons())
    assert len(ratings) == 1
    # Shown in one order in both tabs: the second reply says the opposite of the first.
    assert abs(ratings[0].preference) == 3
    events = [event.kind for event in comparing.studio.store.events()]
    assert events.count("comparison") == 2


def test_the_outbox_outlives_a_reload_and_a_dead_server(
    chrome: Browser, comparing: Running, tmp_path: Path
) -> None:
    store, port = comparing.studio.store, int(comparing.origin.rsplit(":", 1)[1])
    with tab(chrome, comparing, "ann", expected=("ERR_", "Failed to load", "503")) as t:
        t.open()
        t.press("6")
        comparing.stop()
        t.press("Enter")
        t.page.wait_for_selector("#waiting:not([hidden])")
        assert _choices(store) == []
        again = Running(store, port)
        again.start()
        try:
            t.page.reload()
            t.ready()
            t.page.wait_for_selector("#waiting", state="hidden")
            assert len(_choices(store)) == 1
            assert len({body["uuid"] for body in t.sent}) == 1
        finally:
            again.stop()


@pytest.mark.slow
def test_active_time_stands_still_while_the_page_is_left(chrome: Browser, comparing: Running) -> None:
    with tab(chrome, comparing, "ann") as t:
        t.page.clock.install()
        t.open()
        t.page.clock.run_for(5_000)
        t.page.evaluate("() => window.dispatchEvent(new Event('blur'))")
        t.page.clock.run_for(600_000)
        t.page.evaluate("() => window.dispatchEvent(new Event('focus'))")
        t.page.clock.run_for(3_000)
        t.press("1", "Enter")
        seconds = t.stored(1) and t.sent[0]["seconds"]
    assert 7 <= seconds <= 12


def test_the_page_speaks_chinese(chrome: Browser, comparing: Running) -> None:
    with tab(chrome, comparing, "ann") as t:
        t.open()
        t.act("#language")
        t.page.wait_for_selector("html[lang='zh-Hans']")
        t.ready()
        assert "哪个回答更好" in t.page.inner_text("#kind")
        assert t.page.inner_text("#submit") == "提交"
        for text in t.page.locator(
            "main button:visible, main summary:visible, header button:visible"
        ).all_inner_texts():
            words = text.replace("English", "").replace("ann", "")
            assert not any("a" <= letter <= "z" for letter in words), text


@pytest.mark.slow
def test_the_theme_is_kept(chrome: Browser, comparing: Running) -> None:
    with tab(chrome, comparing, "ann") as t:
        t.open()
        light = t.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        t.act("#theme")
        t.page.wait_for_selector("html[data-theme='dark']")
        t.page.wait_for_timeout(200)
        t.open()
        assert t.page.evaluate("() => getComputedStyle(document.body).backgroundColor") != light
