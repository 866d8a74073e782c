"""The writer's desk over HTTP, and in a browser by keyboard and by pointer."""

import dataclasses
import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from browser_kit import tab
from desk_kit import model
from playwright.sync_api import Browser
from web_kit import Running

PANEL = ["person Mina: in the mill", "person Tom: dead", "rule be brief"]


@pytest.fixture
def api() -> Iterator[Any]:
    with model() as made:
        yield made


@pytest.fixture
def desk(server: Running, api: Any) -> Running:
    """A studio whose pages talk to the scripted model."""
    settings = dataclasses.replace(server.studio.settings, model=api.url)
    object.__setattr__(server.studio, "settings", settings)
    return server


def begin(client: httpx.Client, **body: Any) -> str:
    reply = client.post("/api/desk/begin", json={"title": "Tale", "panel": PANEL, "explained": False, **body})
    assert reply.status_code == 200, reply.text
    return str(reply.json()["story"])


def write(client: httpx.Client, story: str, plan: list[str], **body: Any) -> list[dict[str, Any]]:
    reply = client.post("/api/desk/write", json={"story": story, "plan": plan, **body})
    return [json.loads(line) for line in reply.text.splitlines()]


def test_a_passage_streams_and_the_panel_follows(desk: Running) -> None:
    with desk.client("ann") as client:
        story = begin(client)
        rows = write(client, story, ["Mina goes home", "Tom sings"])
        assert "".join(r.get("piece", "") for r in rows) == "Mina goes home. Tom sings."
        state = rows[-1]["state"]
        assert state["fields"]["people"] == ["Mina: tired", "Tom: dead"]
        assert state["fields"]["short_memory"] == ["Mina goes home. Tom sings."]
        assert state["fields"]["plan"] == []
        (told,) = [t for t in state["turns"] if t["passage"]]
        assert [m["why"] for m in told["marks"]] == ["Tom is dead"]
        assert told["note"] == "1 lines of the update could not be read"


def test_locks_edits_branches_and_every_export(desk: Running) -> None:
    with desk.client("ann") as client:
        story = begin(client)
        client.post("/api/desk/lock", json={"story": story, "field": "people", "locked": True})
        write(client, story, ["Mina goes home"])
        state = client.post(
            "/api/desk/edit", json={"story": story, "field": "places", "lines": ["mill: burnt", ""]}
        ).json()
        assert state["fields"]["people"][0] == "Mina: in the mill"
        assert state["fields"]["places"] == ["mill: burnt"]
        client.post("/api/desk/go", json={"story": story, "turn": 0})
        state = write(client, story, ["Mina sings"])[-1]["state"]
        assert [t["passage"] for t in state["turns"]] == ["", "Mina sings."]
        assert [t["passage"] for t in state["elsewhere"]] == ["Mina goes home."]
        files = {
            f: client.get(f"/api/desk/export/{f}", params={"story": story}) for f in ("md", "epub", "json")
        }
        assert files["md"].text == "# Tale\n\nMina sings.\n"
        assert b"Mina sings." in zipfile.ZipFile(io.BytesIO(files["epub"].content)).read("OEBPS/text.xhtml")
        assert len(files["json"].json()["turns"]) == 3


def test_choices_are_judgements_with_consent_only(desk: Running) -> None:
    store = desk.studio.store
    with desk.client("ann") as client:
        story = begin(client)
        plans = client.post("/api/desk/plans", json={"story": story}).json()["plans"]
        assert plans == [["Mina goes home"], ["Mina sings", "Tom sleeps"], ["Tom runs"]]
        write(client, story, plans[1], others=plans)
        assert store.counts()["prompts"] == 3  # those of the test's batches
        client.post("/api/desk/consent", json={"story": story, "consent": True})
        write(client, story, plans[0], others=plans)
        client.post("/api/desk/edit", json={"story": story, "field": "people", "lines": ["Mina: awake"]})
    choice, panel = [e for e in store.events() if e.annotator == "ann"]
    assert (choice.kind, panel.kind) == ("plan_choice", "panel_comparison")
    assert len(choice.payload["options"]) == 3
    assert choice.payload["chosen"] == choice.payload["options"][0]
    assert panel.payload["preference"] > 0


@pytest.mark.parametrize(("choose", "chosen"), [("person", None), ("first", 0), ("reward", 1), ("judge", 2)])
def test_a_machine_may_choose_and_that_is_no_judgement(
    desk: Running, api: Any, choose: str, chosen: int | None
) -> None:
    with desk.client("ann") as client:
        story = begin(client, consent=True)
        reply = client.post("/api/desk/plans", json={"story": story, "choose": choose}).json()
        assert reply["chosen"] == chosen
        write(client, story, reply["plans"][chosen or 0])
    assert [e for e in desk.studio.store.events() if e.annotator == "ann"] == []
    if choose == "reward":
        assert api.seen[-3]["answers"][1] == "plan Mina sings\nplan Tom sleeps"


def test_a_server_without_a_reward_model_says_how_to_start_one(desk: Running, api: Any) -> None:
    with desk.client("ann") as client:
        story = begin(client)
        api.ranks = False
        said = client.post("/api/desk/plans", json={"story": story, "choose": "reward"}).json()["error"]
        assert "reward=DIR" in said["message"]


def test_nobody_reads_anothers_story(desk: Running) -> None:
    with desk.client("ann") as ann, desk.client("bo") as bo:
        story = begin(ann)
        assert bo.get("/desk", params={"story": story}).status_code == 404
        assert bo.get("/api/desk/export/json", params={"story": story}).status_code == 404
        assert bo.post("/api/desk/go", json={"story": story, "turn": 0}).status_code == 404
        assert "Tale" not in bo.get("/desk").text
        assert ann.get("/desk", params={"story": story}).status_code == 200


def test_what_can_go_wrong_is_said(desk: Running, api: Any) -> None:
    with desk.client("ann") as client:
        empty = client.post("/api/desk/begin", json={"title": "x"})
        assert (empty.status_code, empty.json()["error"]["code"]) == (422, "desk_empty")
        bad = client.post("/api/desk/begin", json={"panel": ["persn Mina"]})
        assert "persn Mina" in bad.json()["error"]["message"]
        story = begin(client)
        api.broken = True
        assert "503: the context holds 256 tokens" in write(client, story, ["Mina goes home"])[-1]["error"]
        assert "503" in client.post("/api/desk/plans", json={"story": story}).json()["error"]["message"]
        api.shutdown()
        api.server_close()
        reply = client.post("/api/desk/plans", json={"story": story})
        assert (reply.status_code, reply.json()["error"]["code"]) == (502, "desk_model")
        assert "turns" in client.get("/api/desk/export/json", params={"story": story}).json()


def test_a_text_is_read_into_a_panel(desk: Running) -> None:
    with desk.client("ann") as client:
        story = begin(client, text="Mina came. She sat.", panel=[])
        state = client.post("/api/desk/go", json={"story": story, "turn": 1}).json()
        assert state["fields"]["people"] == ["Mina: tired"]
        assert state["words"] == 4


def test_requests_stay_as_short_however_long_the_story(desk: Running, api: Any) -> None:
    with desk.client("ann") as client:
        story = begin(client)
        for n in range(12):
            write(client, story, [f"Mina does {n % 10}"])
        sizes = [len(json.dumps(b["messages"])) for b in api.seen if b.get("stream")]
    assert max(sizes[1:]) == min(sizes[1:])


def test_a_story_by_keyboard(chrome: Browser, desk: Running) -> None:
    with tab(chrome, desk, "ann") as t:
        t.open("/desk")
        t.page.locator("#name").fill("By keys")
        t.page.locator("#premise").focus()
        t.page.keyboard.type("Mina wants the kite")
        t.page.locator("[name=explained]").focus()
        t.page.keyboard.press("Space")
        t.page.locator("[name=consent]").focus()
        t.page.keyboard.press("Space")
        t.page.locator("form button.primary").focus()
        t.page.keyboard.press("Enter")
        t.page.wait_for_selector("body[data-ready] #title")
        t.page.wait_for_function("() => document.querySelector('#title').textContent === 'By keys'")
        t.press("p")
        t.page.wait_for_selector(".option input:checked")
        t.press("2", "Control+Enter")
        t.page.wait_for_function(
            "() => document.querySelector('.fresh')?.textContent === 'Mina sings. Tom sleeps.'"
        )
        t.page.wait_for_selector("#write:not([disabled])")
        t.press("w")
        t.page.keyboard.type("Mina dreams")
        t.press("Control+Enter")
        t.page.wait_for_function("() => document.querySelectorAll('.passages p').length === 2")
        t.page.wait_for_selector("#write:not([disabled])")
        t.press("Escape", "b")
        t.page.wait_for_function("() => document.querySelectorAll('.passages p').length === 1")
        t.press("?")
        t.page.wait_for_selector("dialog[open]")
    kinds = [e.kind for e in desk.studio.store.events() if e.annotator == "ann"]
    assert kinds == ["plan_choice"]


def test_the_model_as_judge_takes_a_plan_and_writes_on(chrome: Browser, desk: Running) -> None:
    with desk.client("ann") as client:
        story = begin(client)
    with tab(chrome, desk, "ann") as t:
        t.open(f"/desk?story={story}")
        t.page.locator("#choose").select_option("judge")
        t.act("#ask")
        t.page.wait_for_function("() => document.querySelector('.fresh')?.textContent === 'Tom runs.'")


@pytest.mark.parametrize("touch", [False, True])
def test_a_story_by_pointer(chrome: Browser, desk: Running, touch: bool) -> None:
    with desk.client("ann") as client:
        story = begin(client)
        write(client, story, ["Mina sings", "Tom runs"])
    with tab(chrome, desk, "ann", touch=touch) as t:
        t.open(f"/desk?story={story}")
        t.page.wait_for_selector("mark")
        assert t.page.inner_text("mark") == "Tom runs."
        t.act("#ask")
        t.page.wait_for_selector(".option input:checked")
        t.act(t.page.locator(".option").nth(2))
        t.act("#write")
        t.page.wait_for_function("() => document.querySelector('.fresh')?.textContent === 'Tom runs.'")
        t.page.wait_for_selector("#write:not([disabled])")
        t.act(t.page.locator("[data-field=people] button").nth(1))
        t.page.wait_for_selector("[data-field=people] [aria-pressed=true]")
        t.act(t.page.locator("[data-field=places] button").nth(0))
        t.page.locator("[data-field=places] textarea").fill("the barn: on fire")
        t.act("[data-field=places] .primary")
        t.page.wait_for_function(
            "() => document.querySelector('[data-field=places] li')?.textContent === 'the barn: on fire'"
        )
        t.act(".materials summary")
        t.act(t.page.locator("#steps button").nth(0))
        t.page.wait_for_selector("#passages .fine")
    with desk.client("ann") as client:
        found = client.get("/api/desk/export/json", params={"story": story}).json()
    assert found["locked"] == ["people"]
    assert found["at"] == 0
    assert len(found["turns"]) == 3


def test_markup_of_a_model_is_text(chrome: Browser, desk: Running) -> None:
    with desk.client("ann") as client:
        story = begin(client, title="<b>T</b>")
        write(client, story, ["<img src=x onerror=alert(1)>"])
    with tab(chrome, desk, "ann") as t:
        t.open(f"/desk?story={story}")
        t.page.wait_for_function("() => document.querySelector('.passages p').textContent.includes('<img')")
        assert t.page.locator(".passages img").count() == 0
        assert t.page.inner_text("#title") == "<b>T</b>"
