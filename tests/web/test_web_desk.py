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

from heedful.data.store import preferences

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
        assert told["note"] == "lines of the update that could not be read: 1"


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
    texts = {a.id: a.text for a in store.answers()}
    # What a model answers, and what the terminal keeps: a patch.
    assert texts[panel.payload["first"]].startswith("lately Mina")
    assert texts[panel.payload["first"]].endswith("drop person Tom\nperson Mina: awake")
    assert texts[panel.payload["second"]] == "lately Mina goes home."
    pairs = [(p.chosen.split("\n")[0], p.rejected.split("\n")[0]) for p in preferences(store)]
    assert pairs[-3:] == [
        ("plan Mina goes home", "plan Mina sings"),
        ("plan Mina goes home", "plan Tom runs"),
        ("lately Mina goes home.", "lately Mina goes home."),
    ]


def test_an_edit_is_kept_for_the_step_on_which_it_was_made(desk: Running) -> None:
    with desk.client("ann") as client:
        story = begin(client, consent=True)
        for _ in range(2):
            client.post("/api/desk/go", json={"story": story, "turn": 0})
            write(client, story, ["Mina goes home"], temperature=1)
        client.post("/api/desk/go", json={"story": story, "turn": 0})
        client.post("/api/desk/edit", json={"story": story, "field": "goals", "lines": ["rest"]})
    (begun,) = [e for e in desk.studio.store.events() if e.annotator == "ann"]
    (prompt,) = desk.studio.store.prompts(ids=[begun.prompt_id])
    assert prompt.messages[-1].content == "Tale\nWhat does it begin from?"


def test_a_server_is_held_to_forms_or_it_is_said(desk: Running, api: Any) -> None:
    with desk.client("ann") as client:
        story = begin(client)
        assert client.post("/api/desk/plans", json={"story": story}).json()["held"] is True
        last = write(client, story, ["Mina goes home"])[-1]
        assert last["held"] is True
        asked = [b["response_format"]["json_schema"]["schema"] for b in api.seen if "response_format" in b]
        assert len(asked) == 3 + 1
        assert "plan" in asked[0]["properties"]["lines"]["items"]["pattern"]
        api.forms = False
        reply = client.post("/api/desk/plans", json={"story": story}).json()
        assert (len(reply["plans"]), reply["held"]) == (3, False)


def test_lines_that_the_model_is_not_shown_stay_in_the_story(desk: Running, api: Any) -> None:
    memory = [f"memory {n} {'was long ago ' * 20}" for n in range(60)]
    with desk.client("ann") as client:
        story = begin(client, panel=[*PANEL, *memory])
        client.post("/api/desk/lock", json={"story": story, "field": "long_memory", "locked": True})
        state = write(client, story, ["Mina goes home"])[-1]["state"]
        assert len(state["fields"]["long_memory"]) == 60
        assert "the model is not shown" in state["dropped"]
        assert "of 'memory'" in state["dropped"]
        own = [f"Mina does {n} {'and then ' * 100}" for n in range(50)]
        refused = client.post("/api/desk/write", json={"story": story, "plan": own})
        assert "in fewer words" in refused.json()["error"]["message"]
        sentence = client.post("/api/desk/begin", json={"text": "word " * 4000})
        assert sentence.json()["error"]["code"] == "desk_sentence"
        api.garbled = "on and on " * 20_000
        write(client, story, ["Mina sings"])
    assert max(len(json.dumps(b["messages"])) for b in api.seen) < 20_000


@pytest.mark.parametrize(
    ("choose", "chosen"), [("person", None), ("first", 0), ("rule", 1), ("reward", 1), ("judge", 2)]
)
def test_a_machine_may_choose_and_that_is_no_judgement(
    desk: Running, api: Any, choose: str, chosen: int | None
) -> None:
    with desk.client("ann") as client:
        story = begin(client, consent=True, panel=["place home: closed"] if choose == "rule" else PANEL)
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


def test_a_panel_is_edited_and_locked_and_a_branch_taken_by_keyboard(chrome: Browser, desk: Running) -> None:
    with desk.client("ann") as client:
        story = begin(client, consent=True)
        write(client, story, ["Mina goes home"])
    with tab(chrome, desk, "ann") as t:
        t.open(f"/desk?story={story}")
        t.page.wait_for_selector("[data-field=people] li")
        t.page.locator("[data-field=people] button").nth(0).focus()
        t.press("Enter")
        t.page.wait_for_selector("[data-field=people] textarea:focus")
        t.press("Control+Home")
        t.page.keyboard.type("Zoe: in the barn\n")
        t.press("Control+Enter")
        t.page.wait_for_function(
            "() => document.querySelector('[data-field=people] li')?.textContent === 'Zoe: in the barn'"
        )
        # The focus is back where it was, so the lock is the next thing on the way.
        t.press("Tab", "Space")
        t.page.wait_for_selector("[data-field=people] [aria-pressed=true]")
        t.page.locator("[data-field=rules] button").nth(0).focus()
        t.press("Enter")
        t.page.wait_for_selector("[data-field=rules] textarea:focus")
        t.page.keyboard.type("never kept")
        t.press("Escape")
        t.page.wait_for_selector("[data-field=rules] button:focus")
        t.page.locator(".materials summary").focus()
        t.press("Enter", "Tab", "Enter")
        t.page.wait_for_selector("#passages p.fine")
        t.press("w")
        t.page.keyboard.press("Control+a")
        t.page.keyboard.type("Mina sings")
        t.press("Control+Enter")
        t.page.wait_for_function("() => document.querySelector('.fresh')?.textContent === 'Mina sings.'")
    with desk.client("ann") as client:
        found = client.get("/api/desk/export/json", params={"story": story}).json()
    assert found["locked"] == ["people"]
    assert [t["parent"] for t in found["turns"]] == [-1, 0, 0]
    assert found["turns"][1]["after"]["people"][0]["name"] == "Zoe"
    assert found["turns"][1]["after"]["rules"] == ["be brief"]
    assert [e.kind for e in desk.studio.store.events() if e.annotator == "ann"] == ["panel_comparison"]


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
        t.page.wait_for_selector("#passages p.fine")
    with desk.client("ann") as client:
        found = client.get("/api/desk/export/json", params={"story": story}).json()
    assert found["locked"] == ["people"]
    assert found["at"] == 0
    assert len(found["turns"]) == 3


def test_what_is_wrong_is_shown_beside_the_text(chrome: Browser, desk: Running, api: Any) -> None:
    with desk.client("ann") as client:
        story = begin(client, panel=[*PANEL, *(f"future {n} {'to come ' * 30}" for n in range(40))])
        client.post("/api/desk/edit", json={"story": story, "field": "things", "lines": ["Mina: a boat"]})
        write(client, story, ["Mina sings"])
    api.forms = False
    with tab(chrome, desk, "ann") as t:
        t.open(f"/desk?story={story}")
        t.page.wait_for_selector(".passages .note")
        assert t.page.inner_text(".passages .note") == "lines of the update that could not be read: 1"
        warnings = t.page.locator("#warnings li").all_inner_texts()
        assert warnings[0] == "'Mina' stands under 'person' and under 'thing'"
        assert "the model is not shown" in warnings[1]
        assert t.page.inner_text("#unheld") == ""
        t.act("#ask")
        t.page.wait_for_selector(".option input:checked")
        assert "takes no forms" in t.page.inner_text("#unheld")


def test_what_is_wrong_in_a_chinese_story_is_said_in_chinese(desk: Running, api: Any) -> None:
    with desk.client("ann") as client:
        story = begin(client, lang="zh", panel=["人物 米娜：在磨坊里", "人物 汤姆：死了", "物品 米娜：船"])
        api.garbled = "汤姆笑了。"
        state = write(client, story, ["汤姆笑"])[-1]["state"]
        assert state["warnings"] == ["“米娜”既在“人物”中，又在“物品”中"]
        (told,) = [t for t in state["turns"] if t["passage"]]
        assert (told["note"], told["marks"][0]["why"]) == ("更新中有 1 行读不懂", "汤姆已死")


def test_markup_of_a_model_is_text(chrome: Browser, desk: Running) -> None:
    with desk.client("ann") as client:
        story = begin(client, title="<b>T</b>")
        write(client, story, ["<img src=x onerror=alert(1)>"])
    with tab(chrome, desk, "ann") as t:
        t.open(f"/desk?story={story}")
        t.page.wait_for_function("() => document.querySelector('.passages p').textContent.includes('<img')")
        assert t.page.locator(".passages img").count() == 0
        assert t.page.inner_text("#title") == "<b>T</b>"
