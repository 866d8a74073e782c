"""Whoever leaves is not answered any more; a fault ends what it hit, and no more."""

import json
import threading
from typing import Any

import httpx
import pytest

from serve import live

LONG = {"messages": [{"role": "user", "content": "the cat"}], "max_tokens": 400, "logit_bias": {"0": -100}}


def never_ending(server: live.Live, **more: Any) -> dict[str, Any]:
    """A request whose answer ends at its length only."""
    stop = server.engine.models["tiny"].stop
    return {"model": "tiny", **LONG, "logit_bias": {str(t): -100 for t in stop}, **more}


def test_a_stream_that_is_closed_is_cancelled(server: live.Live) -> None:
    before = server.metrics.cancelled.value, server.metrics.generated_tokens.value
    url, body = f"{server.v1}/chat/completions", never_ending(server, stream=True, n=4)
    with httpx.stream("POST", url, json=body, headers=server.headers) as reply:
        next(reply.iter_lines())
    server.idle()
    assert server.metrics.cancelled.value == before[0] + 4
    assert server.metrics.generated_tokens.value < before[1] + 4 * 400


def test_a_client_that_waits_for_the_whole_answer_and_leaves_is_cancelled(server: live.Live) -> None:
    before = server.metrics.cancelled.value
    body = never_ending(server, n=8)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.v1}/chat/completions", json=body, headers=server.headers, timeout=0.15)
    server.idle()
    assert server.metrics.cancelled.value == before + 8
    assert server.metrics.responses[499].value >= 1


def test_clients_that_vanish_leave_no_work_behind(server: live.Live) -> None:
    metrics, worker = server.metrics, server.engine.worker
    ended = metrics.cancelled.value + metrics.answers.value
    body = json.dumps(never_ending(server, stream=True)).encode()

    def vanish() -> None:
        for _ in range(8):
            with httpx.stream(
                "POST",
                f"{server.v1}/chat/completions",
                content=body,
                headers={**server.headers, "content-type": "application/json"},
                timeout=30,
            ) as reply:
                assert reply.status_code == 200

    threads = [threading.Thread(target=vanish) for _ in range(5)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    server.idle()
    assert metrics.cancelled.value + metrics.answers.value == ended + 40
    stream = worker.lanes["tiny"].stream
    assert (len(stream), stream.free, len(worker._gone)) == (0, 32, 0)


def test_a_fault_of_the_engine_ends_its_answers_with_an_error_and_the_next_are_answered(
    server: live.Live, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lane = server.engine.worker.lanes["tiny"]
    steps = 0
    whole = lane.stream.step

    def failing() -> Any:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise RuntimeError("out of memory")
        return whole()

    monkeypatch.setattr(lane.stream, "step", failing)
    reply = server.post("chat/completions", never_ending(server, stream=True))
    lines = [x for x in reply.text.split("\n\n") if x]
    error = json.loads(lines[-1].removeprefix("data: "))["error"]
    assert error["type"] == "server_error"
    assert "out of memory" not in reply.text
    assert "out of memory" in caplog.text
    again = server.post("chat/completions", {**never_ending(server), "max_tokens": 4})
    assert again.status_code == 200
    assert again.json()["usage"]["completion_tokens"] == 4


def test_a_bad_schema_hurts_nobody_else(server: live.Live) -> None:
    pytest.importorskip("llguidance", reason="answers by schema need llguidance")
    bad = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/nowhere"}}}
    failed = server.metrics.failed.value
    url = f"{server.v1}/chat/completions"
    with httpx.stream(
        "POST", url, json=never_ending(server, stream=True, max_tokens=60), headers=server.headers, timeout=30
    ) as other:
        for _ in range(5):
            assert (
                server.post("chat/completions", {**LONG, "model": "tiny", "response_format": bad}).status_code
                == 400
            )
        assert other.read().decode().rstrip().endswith("data: [DONE]")
    assert server.metrics.failed.value == failed


def test_metrics_tell_what_happened(server: live.Live) -> None:
    server.idle()
    before = server.metrics.generated_tokens.value
    assert server.post("chat/completions", {**never_ending(server), "max_tokens": 7}).status_code == 200
    text = server.get("metrics").text
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert int(found["heedful_generated_tokens_total"]) == before + 7
    assert found["heedful_running"] == found["heedful_waiting"] == "0"
    assert int(found['heedful_first_token_seconds_bucket{le="+Inf"}']) == int(
        found["heedful_first_token_seconds_count"]
    )
