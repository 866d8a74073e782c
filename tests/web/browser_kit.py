"""A browser for tests: Debian's Chromium, or none and a reason."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Request, Response, sync_playwright
from web_kit import Running

CHROMIUM = os.environ.get("HEEDFUL_CHROMIUM") or shutil.which("chromium")


@contextmanager
def entered(store: Path, **process: Any) -> Iterator[tuple[Page, str]]:
    """A page of the studio, run by the command line, where the first link was accepted; and the studio's address."""
    command = [sys.executable, "-m", "heedful", "studio", str(store), "--port", "0"]
    studio = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **process)
    try:
        assert studio.stderr is not None
        said = "".join(studio.stderr.readline() for _ in range(3))
        link = re.search(r"http://\S+/invitation/\S+", said)
        assert link is not None, said
        with chromium() as browser:
            page = browser.new_page()
            page.set_default_timeout(60_000)
            page.goto(link[0])
            page.fill("#name", "ada")
            page.fill("#password", "a river runs south")
            page.keyboard.press("Enter")
            page.wait_for_selector("body[data-ready]")
            yield page, link[0].rpartition("/invitation/")[0]
    finally:
        studio.send_signal(signal.SIGTERM)
        studio.communicate(timeout=30)


def judge_left(page: Page, count: int) -> None:
    """Open the page to judge on, and prefer the answer on the left `count` times."""
    page.get_by_role("link", name="Judge").click()
    for number in range(1, count + 1):
        page.wait_for_selector(".task[data-question=compare]")
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        page.wait_for_function(f"() => document.querySelector('#done-today').textContent === '{number}'")


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window; skips where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium, or set HEEDFUL_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Tab:
    """A page of somebody who is signed in; it notes what is sent, which keys are pressed, and what goes wrong."""

    page: Page
    context: BrowserContext
    origin: str
    touch: bool
    keys: int = 0
    sent: list[dict[str, Any]] = field(default_factory=list)
    acknowledged: int = 0
    foreign: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def open(self, path: str = "/work") -> None:
        """Go to a path, and wait until its script has done its work."""
        self.page.goto(self.origin + path)
        if path == "/work":
            self.ready()

    def ready(self) -> None:
        """Wait until the working page has asked for a task."""
        self.page.wait_for_selector("body[data-ready]")

    def press(self, *keys: str) -> None:
        """Press keys one after another."""
        for key in keys:
            self.page.keyboard.press(key)
            self.keys += 1

    def act(self, where: str | Locator) -> None:
        """Click, or tap on a screen that is touched."""
        locator = self.page.locator(where) if isinstance(where, str) else where
        if self.touch:
            locator.tap()
        else:
            locator.click()

    def drag(self, handle: Locator, to: Locator) -> None:
        """Drag a handle onto another one, by mouse or by finger."""
        start, end = handle.bounding_box(), to.bounding_box()
        assert start is not None
        assert end is not None
        x, y = start["x"] + start["width"] / 2, start["y"] + start["height"] / 2
        target = end["y"] + end["height"] / 2 - 12
        steps = [y + (target - y) * part / 8 for part in range(1, 9)]
        if not self.touch:
            self.page.mouse.move(x, y)
            self.page.mouse.down()
            for at in steps:
                self.page.mouse.move(x, at)
            self.page.mouse.up()
            return
        finger = self.context.new_cdp_session(self.page)
        finger.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        for at in steps:
            finger.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": at}]})
        finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        self.page.wait_for_timeout(400)  # else the browser takes the next tap for the second of a double tap

    def stored(self, number: int) -> list[dict[str, Any]]:
        """Wait until so many submissions were sent and answered, and return their replies."""
        for _ in range(1200):
            if self.acknowledged >= number:
                break
            self.page.wait_for_timeout(25)
        return [body.get("reply", body) for body in self.sent]


@contextmanager
def tab(
    browser: Browser,
    server: Running,
    name: str,
    *,
    touch: bool = False,
    expected: tuple[str, ...] = (),
    **options: Any,
) -> Iterator[Tab]:
    """A tab of somebody; afterwards no request may have left the origin, and nothing gone wrong but `expected`."""
    size = {"width": 390, "height": 844} if touch else {"width": 1280, "height": 860}
    given = {"viewport": size, "has_touch": touch, "is_mobile": touch, "locale": "en-GB"} | options
    context = browser.new_context(**given)
    if name:
        context.add_cookies(
            [{"name": "heedful-session", "value": server.session(name), "url": server.origin}]
        )
    page = context.new_page()
    page.set_default_timeout(30_000)
    made = Tab(page, context, server.origin, touch)

    def note(request: Request) -> None:
        if not request.url.startswith(server.origin + "/"):
            made.foreign.append(request.url)
        if request.method == "POST" and "/api/work/s" in request.url and request.post_data:
            made.sent.append(json.loads(request.post_data))

    def note_answer(response: Response) -> None:
        if response.request.method == "POST" and "/api/work/s" in response.url and response.ok:
            made.acknowledged += 1

    context.on("request", note)
    context.on("response", note_answer)
    page.on("pageerror", lambda error: made.troubles.append(str(error)))
    page.on(
        "console", lambda line: made.troubles.append(line.text) if line.type in ("error", "warning") else None
    )
    try:
        yield made
    finally:
        context.close()
    assert made.foreign == []
    assert [line for line in made.troubles if not any(part in line for part in expected)] == []
