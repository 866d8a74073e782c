"""The ranking's pure functions, and every page against axe's rules of accessibility."""

import json
import os
from pathlib import Path

import pytest
from browser_kit import tab
from playwright.sync_api import Browser
from web_kit import QUESTIONS, Running

AXE = Path(os.environ.get("HEEDFUL_AXE", "node_modules/axe-core/axe.min.js"))
"""From npm, for tests only: `npm install axe-core@4` in the folder where the tests run."""

LAWS = """async (address) => {
  const order = await import(address);
  let seed = 1;
  const random = (n) => { seed = (seed * 48271) % 2147483647; return seed % n; };
  const faults = [];
  const check = (right, ...what) => { if (!right) faults.push(what); };
  const at = (tiers, item) => tiers.findIndex((tier) => tier.includes(item));
  const whole = (tiers, count) => tiers.every((tier) => tier.length)
    && JSON.stringify([...tiers.flat()].sort((a, b) => a - b)) === JSON.stringify([...Array(count).keys()]);
  for (let round = 0; round < 3000; round++) {
    const count = 2 + random(8);
    const marks = [...Array(count)].map(() => 1 + random(7));
    let tiers = order.presorted({ x: marks }, count);
    marks.forEach((a, i) => marks.forEach((b, j) =>
      check(Math.sign(at(tiers, i) - at(tiers, j)) === Math.sign(b - a), "presorted", marks, tiers)));
    for (let step = 0; step < 6; step++) {
      const item = random(count);
      const before = JSON.stringify(tiers);
      const alone = tiers[at(tiers, item)].length === 1;
      const first = at(tiers, item) === 0;
      const how = random(3);
      if (how === 0) {
        const to = random(count);
        tiers = order.moved(tiers, item, to);
        const stands = tiers.flat().indexOf(item) === to && tiers[at(tiers, item)].length === 1;
        check(stands, "moved", before, item, to, tiers);
      } else if (how === 1) {
        tiers = order.stepped(tiers, item, random(2) ? 1 : -1);
      } else {
        tiers = order.tied(tiers, item);
        if (alone && !first) check(tiers[at(tiers, item)].length > 1, "tied", before, item, tiers);
        if (!alone) check(tiers.length > JSON.parse(before).length, "parted", before, item, tiers);
      }
      check(whole(tiers, count), "lost", how, before, item, tiers);
    }
    const all = new Map([...Array(count).keys()].map((item) => [item, 1 + random(count)]));
    const given = order.placed(tiers, all);
    for (const [a, place] of all) {
      for (const [b, other] of all) {
        check(Math.sign(at(given, a) - at(given, b)) === Math.sign(place - other), "placed", [...all], given);
      }
    }
  }
  return JSON.stringify(faults.slice(0, 3));
}"""


def test_no_move_loses_an_answer(chrome: Browser, long_server: Running) -> None:
    from heedful.web import assets

    with tab(chrome, long_server, "ann") as t:
        t.open()
        assert t.page.evaluate(LAWS, f"/static/{assets.version()}/order.js") == "[]"


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core: npm install axe-core@4, or set HEEDFUL_AXE")
@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_no_page_has_a_serious_accessibility_fault(
    chrome: Browser, long_server: Running, scheme: str
) -> None:
    script = AXE.read_text("utf-8")
    paths = (
        "/people",
        "/batches",
        "/batches/q-rank",
        "/statistics",
        "/disputed",
        "/demonstrations",
        "/files",
        "/me",
    )
    found: dict[str, object] = {}
    with tab(chrome, long_server, "ada", color_scheme=scheme) as t:
        for question in QUESTIONS:
            for other in QUESTIONS:
                long_server.studio.queue.set_state(f"q-{other}", "open" if other == question else "paused")
            t.open()
            found[question] = _faults(t.page, script)
            if question == "rank":
                t.press("Enter")
                found["rank, order"] = _faults(t.page, script)
            given = long_server.studio.queue.claim("ada")
            long_server.studio.queue.release("ada", given.lease)  # type: ignore[union-attr]
        for path in paths:
            t.open(path)
            found[path] = _faults(t.page, script)
    with tab(chrome, long_server, "", color_scheme=scheme) as t:
        for path in (
            "/enter",
            f"/invitation/{long_server.studio.accounts.invite('annotator', made_by='ada')}",
        ):
            t.open(path)
            found[path[:12]] = _faults(t.page, script)
    assert {page: faults for page, faults in found.items() if faults} == {}


def _faults(page: object, script: str) -> list[str]:
    page.evaluate(script)  # type: ignore[attr-defined]
    told = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")  # type: ignore[attr-defined]
    return [
        json.dumps([one["id"], one["impact"], [node["html"][:160] for node in one["nodes"][:3]]])
        for one in told["violations"]
        if one["impact"] in ("serious", "critical")
    ]
