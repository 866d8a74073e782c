"""Talking to a model through the studio: sealed answers, stored judgements, review, and the leaderboard."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from model_kit import Model, model_server, talking
from web_kit import Running

from heedful.data.store import wild

ASKED = [{"role": "user", "content": "write to ada@mail.org"}]
DRAWN = {"temperature": 1, "top_p": 1, "max_tokens": 16, "seed": 7}


@pytest.fixture
def model() -> Iterator[Model]:
    with model_server() as made:
        yield made


@pytest.fixture
def server(tmp_path: Path, model: Model) -> Iterator[Running]:
    with talking(tmp_path, model.url) as made:
        yield made


def ask(client: httpx.Client, said: Any = ASKED, **more: Any) -> list[dict[str, Any]]:
    reply = client.post("/api/chat", json={"messages": said, "sampling": DRAWN, **more})
    assert reply.status_code == 200, reply.text
    return [json.loads(e.removeprefix("data: ")) for e in reply.text.split("\n\n") if e]


def sides(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for event in events:
        side = found.setdefault(event["side"], {"text": "", "sampling": DRAWN})
        side["text"] += event.get("text", "")
        if "seal" in event:
            side["seal"] = event["seal"]
    return [found[n] for n in sorted(found)]


def judged(answers: list[dict[str, Any]], value: int, **more: Any) -> dict[str, Any]:
    kind = "rating" if len(answers) == 1 else "comparison"
    return {"uuid": str(uuid4()), "kind": kind, "messages": ASKED, "answers": answers, "value": value, **more}


def test_an_answer_is_streamed_with_the_settings_that_were_asked_for(server: Running, model: Model) -> None:
    with server.client("ann") as ann:
        assert ann.get("/api/chat/models").json() == {"models": ["north", "south"]}
        events = ask(ann, models=["south"])
    assert "".join(e.get("text", "") for e in events) == "south says: write to ada@mail.org 7"
    assert (events[-1]["end"], events[-1]["model"]) == ("stop", "south")
    assert model.asked[0]["max_tokens"] == 16
    assert model.asked[0]["messages"] == ASKED


def test_nothing_bounds_an_answer_that_the_person_did_not(server: Running, model: Model) -> None:
    """The server knows what its context holds; a bound of ours would be refused by a model with a short one."""
    with server.client("ann") as ann:
        ask(ann, models=["south"], sampling={"temperature": 1})
    assert "max_tokens" not in model.asked[0]


def test_a_blind_pair_tells_no_name_before_it_is_judged(server: Running) -> None:
    with server.client("ann") as ann:
        events = ask(ann, blind=True)
        assert all(set(e) <= {"side", "text", "end", "seal"} for e in events)
        found = sides(events)
        told = ann.post("/api/chat/judge", json=judged(found, 2)).json()["models"]
    assert sorted(told) == ["north", "south"]
    assert [f["text"].split()[0] for f in found] == told


def test_what_is_said_is_kept_once_without_personal_data_and_only_of_real_answers(server: Running) -> None:
    with server.client("ann") as ann:
        (found,) = sides(ask(ann, models=["north"]))
        body = judged([found], 6)
        for _ in range(2):
            assert ann.post("/api/chat/judge", json=body).status_code == 200
        forged = judged([{**found, "text": "I am the best"}], 7)
        reply = ann.post("/api/chat/judge", json=forged)
        assert (reply.status_code, reply.json()["error"]["code"]) == (422, "not_an_answer")
        other = judged([{**found, "sampling": {**DRAWN, "temperature": 0.5}}], 7)
        assert ann.post("/api/chat/judge", json=other).status_code == 422
    (kept,) = wild.listed(server.studio.store)
    assert (kept.person, kept.kind, kept.value, kept.state) == ("ann", "rating", 6, "new")
    assert kept.messages[0].content == "write to [email]"
    assert kept.answers[0].text == "north says: write to [email] 7"
    assert (kept.answers[0].model, kept.answers[0].sampling) == ("north", DRAWN)


def test_a_researcher_reviews_and_nobody_else(server: Running) -> None:
    with server.client("ann") as ann, server.client("rita") as rita:
        found = sides(ask(ann, blind=True))
        assert ann.post("/api/chat/judge", json=judged(found, -3)).status_code == 200
        (waiting,) = wild.listed(server.studio.store)
        body = {"id": str(waiting.id), "state": "accepted"}
        assert ann.post("/api/talks", json=body).status_code == 403
        assert ann.get("/talks").status_code == 403
        assert rita.get("/talks").status_code == 200
        assert rita.post("/api/talks", json=body).status_code == 200
        assert len(wild.take(server.studio.store, 1)) == 1
        assert rita.post("/api/talks", json={**body, "state": "refused"}).status_code == 422


def test_the_leaderboard_is_of_what_was_not_refused(server: Running) -> None:
    with server.client("ann") as ann, server.client("rita") as rita:
        for n in range(8):
            found = sides(ask(ann, models=["north", "south"]))
            value = 2 if n < 6 else -2 if n == 6 else 0
            ann.post("/api/chat/judge", json=judged(found, value))
        north, south = ann.get("/api/arena").json()["rows"]
        assert (north["model"], north["games"], north["wins"], north["ties"]) == ("north", 8, 6, 1)
        # Half a win for a tie: 6.5 of 8, so the strengths differ by log(6.5 / 1.5) nats.
        assert north["points"] - south["points"] == pytest.approx(400 * 0.63682, abs=0.2)
        assert north["low"] < north["points"] < north["high"]
        for one in wild.listed(server.studio.store):
            rita.post("/api/talks", json={"id": str(one.id), "state": "refused"})
        assert ann.get("/api/arena").json()["rows"] == []


def test_a_server_that_fails_is_an_event_and_one_that_is_away_a_problem(
    server: Running, tmp_path: Path
) -> None:
    with server.client("ann") as ann:
        cut = ask(ann, [{"role": "user", "content": "break"}], models=["north"])
        assert (cut[0]["text"], cut[-1]["error"]) == ("north ", "out of memory")
        refused = ask(ann, [{"role": "user", "content": "refuse"}], models=["north"])
        assert refused == [{"side": 0, "error": "too long for me"}]
        reply = ann.post("/api/chat", json={"messages": ASKED, "models": ["moon"]})
        assert (reply.status_code, reply.json()["error"]["code"]) == (422, "no_such_model")
    away = tmp_path / "away"
    away.mkdir()
    with talking(away, "http://127.0.0.1:9/v1") as lonely, lonely.client("ann") as ann:
        assert ann.get("/api/chat/models").json()["error"]["code"] == "model_away"
        assert ann.get("/chat").status_code == 200
    for bad in (
        {"messages": []},
        {"messages": ASKED, "sampling": {"temperature": 9}},
        {"messages": ASKED, "x": 1},
    ):
        with server.client("ann") as ann:
            assert ann.post("/api/chat", json=bad).status_code == 422


def test_a_reader_that_leaves_stops_the_model(server: Running, model: Model) -> None:
    body = {"messages": [{"role": "user", "content": "long"}], "models": ["north", "south"]}
    with server.client("ann") as ann, ann.stream("POST", "/api/chat", json=body) as reply:
        next(reply.iter_lines())
    limit = time.monotonic() + 10
    while model.cut < 2 and time.monotonic() < limit:
        time.sleep(0.02)
    assert (model.begun, model.finished, model.cut) == (2, 0, 2)
