"""The door: invitations, sessions, forged requests, guessing, and whose data is whose."""

import re
import uuid
from pathlib import Path

import httpx
import pytest
from web_kit import PASSWORD, Running, add_person

from heedful.data.store import Store
from heedful.data.store.accounts import Accounts, hashed
from heedful.people import standings
from heedful.people.backup import backup, restore
from heedful.web import passwords
from heedful.web.guard import CONTENT


def _enter(server: Running, name: str, password: str, **headers: str) -> httpx.Response:
    return server.client().post("/api/enter", json={"name": name, "password": password}, headers=headers)


def test_the_first_link_makes_the_administrator_and_then_there_is_none(long_server: Running) -> None:
    assert long_server.studio.accounts.first_invitation() is None
    assert long_server.studio.accounts.find("ada").role == "administrator"  # type: ignore[union-attr]


def test_an_invitation_works_once(long_server: Running) -> None:
    token = long_server.studio.accounts.invite("annotator", made_by="rita")
    client = long_server.client()
    assert client.get(f"/invitation/{token}").status_code == 200
    body = {"token": token, "name": "once", "password": PASSWORD}
    assert client.post("/api/accept", json=body).json() == {"to": "/work"}
    second = long_server.client().post("/api/accept", json=body | {"name": "twice"})
    assert second.json()["error"]["code"] == "invitation_gone"
    assert long_server.client().get(f"/invitation/{token}").status_code == 404


def test_no_token_and_no_password_is_stored(long_server: Running) -> None:
    from sqlalchemy import text

    token = long_server.session("ann")
    with long_server.studio.store.reading() as connection:
        rows = [
            str(tuple(row))
            for table in ("studio_accounts", "studio_sessions", "studio_invitations")
            for row in connection.execute(text(f"SELECT * FROM {table}"))
        ]
    assert not any(token in row or PASSWORD in row for row in rows)
    assert any(hashed(token) in row for row in rows)
    assert any("$argon2id$" in row for row in rows)


def test_a_backup_takes_the_accounts_along(server: Running, tmp_path: Path) -> None:
    backup(server.studio.store, tmp_path / "backup.db")
    restore(tmp_path / "backup.db", tmp_path / "again.db")
    with Store.open(tmp_path / "again.db") as store:
        again = Accounts(store)
        assert again.everyone() == server.studio.accounts.everyone()
        assert again.secret() == server.studio.secret
        assert again.first_invitation() is None


def test_a_session_is_fresh_out_of_reach_and_ends(long_server: Running) -> None:
    client = long_server.client()
    client.cookies.set("heedful-session", "chosen-by-somebody-else")  # fixation
    response = client.post("/api/enter", json={"name": "bo", "password": PASSWORD})
    cookie = response.headers["set-cookie"]
    token = response.cookies["heedful-session"]
    assert token != "chosen-by-somebody-else"
    assert len(token) >= 43  # 256 bits
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    again = long_server.client("bo")
    assert again.post("/api/leave").json() == {"to": "/enter"}
    assert again.get("/api/work/mine").status_code == 401


def test_over_https_cookies_have_the_prefix_and_are_secure(tmp_path: object) -> None:
    from fastapi.testclient import TestClient

    from heedful.web.app import create_app
    from heedful.web.settings import Settings

    with Store.open(f"{tmp_path}/feedback.db") as store:
        app = create_app(store, Settings("https://judge.example"))
        add_person(app.state.studio, "ann")
        client = TestClient(app, base_url="https://judge.example")
        answer = client.post("/api/enter", json={"name": "ann", "password": PASSWORD})
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-heedful-session=")
        assert "Secure" in cookie
        assert "Path=/" in cookie
        assert "Domain" not in cookie
        assert "max-age" in answer.headers["strict-transport-security"]


def test_a_new_password_ends_all_other_sessions(server: Running) -> None:
    other, mine = server.client("ann"), server.client("ann")
    assert (
        mine.post("/api/password", json={"current": "wrong wrong", "password": PASSWORD}).status_code == 403
    )
    new = {"current": PASSWORD, "password": "the sea is far away"}
    assert mine.post("/api/password", json=new).status_code == 200
    assert other.get("/api/work/mine").status_code == 401
    assert mine.get("/api/work/mine").status_code == 200
    assert _enter(server, "ann", PASSWORD).status_code == 403
    assert _enter(server, "ann", "the sea is far away").status_code == 200


@pytest.mark.parametrize(
    "password", ["short", "password1", "qwertyuiop", "aaaaaaaaaaaa", "bo-the-annotator", "x" * 257]
)
def test_passwords_that_others_would_try(password: str) -> None:
    with pytest.raises(passwords.Refused):
        passwords.check(password, "Bo-the-annotator")


def test_long_passwords_and_all_characters_are_allowed() -> None:
    passwords.check("长城上的月亮 🌕 " * 20, "bo")


def test_guessing_is_slowed_for_a_name_and_recovers(server: Running) -> None:
    codes = [_enter(server, "ann", f"guess number {n}").status_code for n in range(7)]
    assert codes[:5] == [403] * 5
    assert codes[-1] == 429
    right = _enter(server, "ann", PASSWORD)
    assert right.status_code == 429
    assert int(right.headers["retry-after"]) >= 1
    assert _enter(server, "bo", PASSWORD).status_code == 200


def test_an_unknown_name_sounds_like_a_wrong_password(long_server: Running) -> None:
    nobody, somebody = (
        _enter(long_server, "nobody", "a guess here"),
        _enter(long_server, "bo", "a guess here"),
    )
    assert nobody.json() == somebody.json()
    assert nobody.status_code == somebody.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"x-csrf-token": ""},
        {"x-csrf-token": "0" * 64},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_forged_requests_change_nothing(long_server: Running, headers: dict[str, str]) -> None:
    client = long_server.client("ann")
    assert client.post("/api/settings", json={"theme": "dark"}, headers=headers).status_code == 403
    assert long_server.studio.accounts.find("ann").theme == ""  # type: ignore[union-attr]


def test_a_token_against_forgery_belongs_to_one_session(long_server: Running) -> None:
    ann, bo = long_server.client("ann"), long_server.client("bo")
    ann.headers["x-csrf-token"] = bo.headers["x-csrf-token"]
    assert ann.post("/api/settings", json={"theme": "dark"}).status_code == 403


def test_another_host_is_not_answered(long_server: Running) -> None:
    assert long_server.client().get("/enter", headers={"host": "evil.example"}).status_code == 421


def test_every_response_has_the_headers(long_server: Running) -> None:
    ada = long_server.client("ada")
    for path in (
        "/enter",
        "/work",
        "/people",
        "/nowhere",
        "/api/work/mine",
        "/static/x/page.js",
        "/static/x/..%2Fapp.py",
    ):
        headers = ada.get(path).headers
        assert headers["content-security-policy"] == CONTENT
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert "server" not in headers or "uvicorn" in headers["server"]
    assert "unsafe" not in CONTENT
    assert ada.get("/api/work/mine").headers["cache-control"] == "no-store"


def test_pages_hold_no_inline_script_style_or_foreign_address(long_server: Running) -> None:
    ada = long_server.client("ada")
    for path in ("/work", "/people", "/batches", "/files", "/me", "/disputed", "/statistics"):
        html = ada.get(path).text
        assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:", html), path
        assert not re.findall(r"(?:src|href|action)=\"(?:https?:)?//", html), path


def test_roles_open_what_they_may(long_server: Running) -> None:
    pages = ("/people", "/batches", "/files", "/statistics", "/disputed", "/api/export/preferences")
    for path in pages:
        assert long_server.client("ann").get(path).status_code == 403, path
        away = long_server.client().get(path)
        assert away.status_code in (303, 401), path
    rita = long_server.client("rita")
    assert rita.post("/api/people/invite", json={"role": "annotator"}).status_code == 200
    assert rita.post("/api/people/invite", json={"role": "researcher"}).status_code == 403
    change = {"name": "ada", "role": "annotator"}
    assert rita.post("/api/people/account", json=change).status_code == 403
    assert rita.post("/api/people/account", json={"name": "rita", "role": "annotator"}).status_code == 403
    assert (
        long_server.client("ada").post("/api/people/invite", json={"role": "researcher"}).status_code == 200
    )


def test_a_closed_account_is_out_at_once(server: Running) -> None:
    bo = server.client("bo")
    assert (
        server.client("ada").post("/api/people/account", json={"name": "bo", "active": False}).status_code
        == 200
    )
    assert bo.get("/api/work/mine").status_code == 401
    assert _enter(server, "bo", PASSWORD).status_code == 403


def test_one_annotator_cannot_touch_anothers_task(server: Running) -> None:
    ann, bo = server.client("ann"), server.client("bo")
    given = ann.get("/api/work/next?batch=q-compare").json()["assignment"]
    theirs = {"task": given["task"], "uuid": str(uuid.uuid4()), "version": 0}
    reply = {"choices": {"overall": 3}}
    assert bo.post("/api/work/undo", json=theirs).status_code == 422
    assert bo.get(f"/api/work/task?task={given['task']}").status_code == 422
    assert bo.post("/api/work/renew", json={"lease": given["lease"]}).status_code == 422
    assert bo.post("/api/work/release", json={"lease": given["lease"]}).status_code == 422
    assert bo.post("/api/work/draft", json={"task": given["task"], "draft": {"x": 1}}).status_code == 422
    assert bo.post("/api/work/submit", json=theirs | {"reply": reply}).status_code in (409, 422)
    assert server.studio.store.counts()["comparison"] == 0
    assert ann.post("/api/work/submit", json=theirs | {"reply": reply}).status_code == 200
    # Nor claim the other's UUID for something else.
    mine = bo.get("/api/work/next?batch=q-compare").json()["assignment"]
    clash = theirs | {"task": mine["task"], "reply": {"choices": {"overall": -1}}}
    assert bo.post("/api/work/submit", json=clash).status_code in (409, 422)
    assert server.studio.store.counts()["comparison"] == 1


def test_the_page_never_says_who_wrote_an_answer(long_server: Running) -> None:
    given = long_server.client("bo").get("/api/work/next?batch=q-rank")
    assert "model-" not in given.text
    assert not re.search(r"rank-\d-\d", given.text)


def test_a_demonstration_is_graded_blind(server: Running) -> None:
    ann, rita = server.client("ann"), server.client("rita")
    task = ann.get("/api/work/next?batch=q-demonstrate").json()["assignment"]
    body = {
        "task": task["task"],
        "uuid": str(uuid.uuid4()),
        "version": 0,
        "reply": {"text": "Rivers, slowly."},
    }
    assert ann.post("/api/work/submit", json=body).status_code == 200
    html = rita.get("/demonstrations").text
    assert "Rivers, slowly." in html
    assert "ann" not in re.sub(r"<[^>]+>", " ", html).split()
    answer = re.search(r'name="answer" value="([^"]+)"', html)
    assert answer is not None
    grade = {"answer": answer[1], "score": 6}
    assert ann.post("/api/demonstrations/grade", json=grade).status_code == 403
    assert rita.post("/api/demonstrations/grade", json=grade | {"score": 8}).status_code == 422
    assert rita.post("/api/demonstrations/grade", json=grade).status_code == 200
    standing = {one.annotator: one for one in standings(server.studio.store)}["ann"]
    assert standing.demonstrations.value == 6


def test_a_body_that_is_too_large_is_refused(long_server: Running) -> None:
    ann = long_server.client("ann")
    huge = {"task": "x", "draft": {"x": "y" * 1_100_000}}
    assert ann.post("/api/work/draft", json=huge).status_code == 413

    def pieces() -> object:
        for _ in range(40):
            yield b"x" * 50_000

    headers = {"content-type": "application/json"}
    assert ann.post("/api/work/draft", content=pieces(), headers=headers).status_code == 413  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "/etc/passwd", "preferences/../../x", "csv%00"]
)
def test_no_path_leads_out_of_an_export(long_server: Running, name: str) -> None:
    rita = long_server.client("rita")
    assert rita.get(f"/api/export/{name}").status_code in (404, 422)
    assert rita.get(f"/static/x/{name}").status_code == 404
