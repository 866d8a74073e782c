"""Hostile text in prompts, answers, names, comments, instructions and files stays text."""

import json
from pathlib import Path

import pytest
from browser_kit import tab
from playwright.sync_api import Browser
from web_kit import Running, add_person, fill

from heedful.data.store import Store
from heedful.people import BatchSettings, NewTask, Queue
from heedful.types import Answer, Message, Prompt
from heedful.web import markdown

HOSTILE = (
    "<script>window.owned = 1</script>",
    "<img src=x onerror='window.owned=1'>",
    "\"'><svg onload=window.owned=1>",
    "{{ 7 * 7 }} ${window.owned = 1} [x](javascript:window.owned=1)",
    "</template></body><iframe srcdoc='<script>parent.owned=1</script>'>",
)
NAME = "<img src=x onerror=window.owned=1>"


@pytest.fixture
def hostile(tmp_path: Path) -> object:
    with Store.open(tmp_path / "feedback.db") as store:
        text = "\n".join(HOSTILE)
        store.add_prompts([Prompt("p", (Message("system", text), Message("user", text)), HOSTILE[1])])
        store.add_answers(Answer(f"a{k}", "p", f"{text}\n{k}", HOSTILE[0]) for k in range(4))
        settings = BatchSettings(
            question="rank", criteria=("overall", HOSTILE[1]), instructions=text, flags=(HOSTILE[1],)
        )
        Queue(store).create_batch("b", HOSTILE[0], settings, [NewTask("p", ("a0", "a1", "a2", "a3"))])
        fill(store, prompts=1)
        server = Running(store)
        add_person(server.studio, NAME)
        add_person(server.studio, "ada", "administrator")
        server.studio.queue.set_priority("b", 9)
        server.start()
        yield server
        server.stop()


def test_hostile_text_is_shown_and_never_run(chrome: Browser, hostile: Running) -> None:
    with tab(chrome, hostile, NAME) as t:
        t.open()
        assert HOSTILE[0] in t.page.inner_text(".prompt")
        assert HOSTILE[1] in t.page.inner_text(".answers")
        assert t.page.locator("main img, main iframe, main svg, main script").count() == 0
        t.press("c")
        t.page.locator("#comment").fill(HOSTILE[1])
        t.press("Escape", *"12345671", "Enter", "Enter")
        t.stored(1)
        assert t.page.evaluate("() => window.owned") is None
    hostile.studio.accounts.invite("annotator", made_by="ada", note=HOSTILE[1])
    with tab(chrome, hostile, "ada") as t:
        for path in ("/people", "/batches", "/batches/b", "/statistics", "/disputed", "/files"):
            t.open(path)
            assert t.page.evaluate("() => window.owned") is None
            assert t.page.locator("main img, main iframe, main script").count() == 0
        t.open("/people")
        assert NAME in t.page.inner_text("main")


def test_files_bring_text_only(chrome: Browser, hostile: Running, tmp_path: Path) -> None:
    client = hostile.client("ada")
    row = {"prompt": HOSTILE[1], "answers": [{"text": HOSTILE[0], "policy": HOSTILE[1]}, HOSTILE[2]]}
    taken = client.post("/api/import?name=x.jsonl&kind=prompts&round=7", content=json.dumps(row).encode())
    assert taken.json()["counts"] == {"prompts": 1, "answers": 2}
    made = {
        "name": HOSTILE[1],
        "settings": {"question": "compare", "priority": 20},
        "per_task": 2,
        "prompts_round": 7,
    }
    assert client.post("/api/batches", json=made).status_code == 200
    with tab(chrome, hostile, NAME) as t:
        t.open()
        assert HOSTILE[1] in t.page.inner_text(".prompt")
        assert t.page.evaluate("() => window.owned") is None


def test_formulas_in_a_spreadsheet_are_harmless(hostile: Running) -> None:
    import io
    import zipfile

    client = hostile.client(NAME)
    task = client.get("/api/work/next?batch=q-compare").json()["assignment"]["task"]
    reply = {"choices": {"overall": 1}, "comment": '=HYPERLINK("http://evil.example")'}
    body = {"task": task, "uuid": "b" * 8 + "-0000-4000-8000-" + "0" * 12, "version": 0, "reply": reply}
    assert client.post("/api/work/submit", json=body).status_code == 200
    given = hostile.client("ada").get("/api/export/csv")
    assert given.headers["content-disposition"].startswith("attachment")
    with zipfile.ZipFile(io.BytesIO(given.content)) as archive:
        assert all("/" not in name and ".." not in name for name in archive.namelist())
        text = archive.read("heedful-csv.csv").decode()
    assert "HYPERLINK" in text
    assert ",=HYPERLINK" not in text
    assert ',"=HYPERLINK' not in text


def test_markdown_keeps_structure_and_drops_the_rest() -> None:
    built = markdown.blocks(
        "# Title\n\n**Bold** <b onclick=x>raw</b> [link](javascript:x)\n\n- one\n- two\n\n![i](http://x/y)"
    )
    assert built[0] == ["h1", "Title"]
    text = json.dumps(built)
    assert "onclick=x" in text  # as text
    assert "javascript" not in text or "href" not in text
    assert '["ul", ["li", "one"], ["li", "two"]]' in text
    assert "img" not in text
