"""Every question by keyboard, by pointer and by touch: the same payload, within few key presses."""

from collections.abc import Callable
from typing import Any

import pytest
from browser_kit import Tab, tab
from playwright.sync_api import Browser
from web_kit import QUESTIONS, Running

MARKS = (5, 7, 4, 4, 6, 6)


def _rank_by_keys(t: Tab) -> None:
    t.press(*map(str, MARKS), "Enter")
    # The marks suggest B, then E and F tied: E goes out of its tie and above B.
    t.press("ArrowDown", "Shift+ArrowUp", "Shift+ArrowUp", "Enter")


def _rank_by_hand(t: Tab) -> None:
    for at, mark in enumerate(MARKS):
        t.act(t.page.locator(".answer").nth(at).locator(".choice").nth(mark - 1))
    t.act("#submit")
    handles = t.page.locator(".handle")
    t.drag(handles.nth(1), handles.nth(0))
    t.act("#submit")


def _compare_by_keys(t: Tab) -> None:
    t.press("6", "Enter")


def _compare_by_hand(t: Tab) -> None:
    t.act(t.page.locator(".choice").nth(5))
    t.act("#submit")


def _steps_by_keys(t: Tab) -> None:
    t.press("1", "2", "3", "a")
    t.page.keyboard.type("Two boxes of 9 make 18.")
    t.press("Control+Enter")


def _steps_by_hand(t: Tab) -> None:
    for step, choice in ((0, 0), (1, 1), (2, 2)):
        t.act(t.page.locator(".step").nth(step).locator(".choice").nth(choice))
    t.act("#alternative")
    t.page.locator("#alternative").fill("Two boxes of 9 make 18.")
    t.act("#submit")


def _write_by_keys(t: Tab) -> None:
    t.press("Control+a")
    t.page.keyboard.type("Salt comes with the rivers. 盐随河来。")
    t.press("Control+Enter")


def _write_by_hand(t: Tab) -> None:
    t.act("#writing")
    t.page.locator("#writing").fill("Salt comes with the rivers. 盐随河来。")
    t.act("#submit")


def _panel_by_keys(t: Tab) -> None:
    t.press("6", "Enter")


def _panel_by_hand(t: Tab) -> None:
    t.act(t.page.locator(".choice").nth(5))
    t.act("#submit")


def _plan_by_keys(t: Tab) -> None:
    t.press("2", "Enter")


def _plan_by_hand(t: Tab) -> None:
    t.act(t.page.locator(".plan").nth(1))
    t.act("#submit")


WAYS: dict[str, tuple[Callable[[Tab], None], Callable[[Tab], None], dict[str, Any], int]] = {
    "rank": (
        _rank_by_keys,
        _rank_by_hand,
        {"ratings": {"overall": list(MARKS)}, "order": [[4], [1], [5], [0], [2, 3]]},
        12,
    ),
    "compare": (_compare_by_keys, _compare_by_hand, {"choices": {"overall": -2}}, 2),
    "steps": (
        _steps_by_keys,
        _steps_by_hand,
        {
            "steps": [1, 0, -1],
            "finish_reason": "found_error",
            "alternatives": [{"step": 2, "text": "Two boxes of 9 make 18.", "rating": 1, "chosen": True}],
        },
        5,
    ),
    "demonstrate": (_write_by_keys, _write_by_hand, {"text": "Salt comes with the rivers. 盐随河来。"}, 2),
    "edit": (_write_by_keys, _write_by_hand, {"text": "Salt comes with the rivers. 盐随河来。"}, 2),
    "panel": (_panel_by_keys, _panel_by_hand, {"ratings": {"overall": [6]}}, 2),
    "panel_pair": (_compare_by_keys, _compare_by_hand, {"choices": {"overall": -2}}, 2),
    "plan": (_plan_by_keys, _plan_by_hand, {"plan": 1}, 2),
}


def _only(server: Running, question: str) -> None:
    for other in QUESTIONS:
        server.studio.queue.set_state(f"q-{other}", "open" if other == question else "paused")


@pytest.mark.parametrize("way", ["keys", "pointer", "touch"])
def test_every_question_says_the_same_by_every_way(chrome: Browser, long_server: Running, way: str) -> None:
    name = {"keys": "ann", "pointer": "bo", "touch": "rita"}[way]
    _only(long_server, QUESTIONS[0])
    with tab(chrome, long_server, name, touch=way == "touch") as t:
        t.open()
        for number, question in enumerate(QUESTIONS):
            t.page.wait_for_selector(f".task[data-question={question}]")
            _only(long_server, QUESTIONS[(number + 1) % len(QUESTIONS)])
            by_keys, by_hand, wanted, most = WAYS[question]
            t.keys = 0
            (by_keys if way == "keys" else by_hand)(t)
            assert t.stored(number + 1)[-1] == wanted
            assert t.keys <= most
    done = long_server.studio.queue.history(name)
    assert [one.question for one in done if one.state == "answered"] == list(reversed(QUESTIONS))


def test_six_answers_are_ranked_within_twelve_keys_from_any_start(
    chrome: Browser, long_server: Running
) -> None:
    _only(long_server, "rank")
    with tab(chrome, long_server, "bo") as t:
        t.open()
        t.press("Enter", *"635241", "Enter")
        assert t.stored(1) == [{"order": [[5], [3], [1], [4], [2], [0]]}]
        assert t.keys <= 12


@pytest.mark.slow
def test_the_same_place_twice_is_a_tie(chrome: Browser, long_server: Running) -> None:
    _only(long_server, "rank")
    with tab(chrome, long_server, "ada") as t:
        t.open()
        t.press("Enter", *"112345", "Enter")
        assert t.stored(1) == [{"order": [[0, 1], [2], [3], [4], [5]]}]


def test_keys_mean_nothing_in_a_text_field(chrome: Browser, long_server: Running) -> None:
    _only(long_server, "compare")
    with tab(chrome, long_server, "ada") as t:
        t.open()
        t.press("c")
        t.page.keyboard.type("z s f 1 ?")
        t.press("Enter", "Escape")
        assert t.page.input_value("#comment") == "z s f 1 ?\n"
        assert t.page.locator("dialog[open]").count() == 0
        t.press("1", "Enter")
        assert t.stored(1) == [{"choices": {"overall": 3}, "comment": "z s f 1 ?"}]
