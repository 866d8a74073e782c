"""A server may be busy, broken or hostile: it is asked again or refused in one sentence, never believed."""

import time
from typing import Any

import pytest

from engine.api_server import Api, serving
from heedful.engine.endpoint import Endpoint
from heedful.errors import UserError


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again_after_growing_pauses(status: int) -> None:
    def handle(api: Api, number: int, body: Any) -> None:
        api.reply({"ok": body["x"]}, 200) if number == 3 else api.reply({}, status)

    pauses: list[float] = []
    with serving(handle) as (url, seen):
        assert Endpoint(url, sleep=pauses.append).post("thing", {"x": 7}) == {"ok": 7}
    assert [path for path, _, _ in seen] == ["/v1/thing"] * 4
    assert pauses == [0.5, 1.0, 2.0]


def test_the_servers_own_pause_is_kept_within_bounds() -> None:
    def handle(api: Api, number: int, body: Any) -> None:
        wait = ["3", "86400", "soon", "-1", "٣"]
        api.reply({}) if number == 5 else api.reply({}, 429, Retry_After=wait[number])

    pauses: list[float] = []
    with serving(handle) as (url, _):
        Endpoint(url, sleep=pauses.append).post("thing", {})
    assert pauses == [3.0, 60.0, 2.0, 4.0, 8.0]


def test_a_server_that_stays_away_is_one_sentence() -> None:
    with serving(lambda api, *_: api.reply({}, 503)) as (url, seen):
        with pytest.raises(UserError, match=r"in 3 tries \(HTTP 503\)"):
            Endpoint(url, retries=2, sleep=lambda _: None).post("thing", {})
        assert len(seen) == 3
    with pytest.raises(UserError, match="is the server up"):
        Endpoint(url, retries=1, timeout=2, sleep=lambda _: None).post("thing", {})


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_a_refusal_is_passed_on_once_and_in_plain_text(status: int) -> None:
    said = b'{"error": "no such\x1b[31m model\n\n' + b"x" * 5000
    with serving(lambda api, *_: api.reply(said, status)) as (url, seen):
        with pytest.raises(UserError, match=f"HTTP {status}: .*no such") as found:
            Endpoint(url, sleep=lambda _: None).post("thing", {})
        assert len(seen) == 1
    assert str(found.value).isprintable()
    assert len(str(found.value)) < 400


@pytest.mark.parametrize(
    "reply",
    [
        b"<html>",
        b"[1]",
        b'"x"',
        b'{"x": NaN}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"x": ' + b"9" * 10_000 + b"}",
        b"",
    ],
)
def test_what_is_not_a_json_object_is_one_sentence(reply: bytes) -> None:
    with (
        serving(lambda api, *_: api.reply(reply)) as (url, _),
        pytest.raises(UserError, match="base address"),
    ):
        Endpoint(url, sleep=lambda _: None).post("thing", {})


def test_a_reply_has_a_limit_in_bytes() -> None:
    spaces = b" " * 300_000
    with (
        serving(lambda api, *_: api.reply(spaces)) as (url, _),
        pytest.raises(UserError, match="100000 bytes"),
    ):
        Endpoint(url, max_bytes=100_000).post("thing", {})


def test_a_reply_has_a_limit_in_time_even_if_it_drips() -> None:
    def handle(api: Api, *_: Any) -> None:
        api.send_response(200)
        api.send_header("Content-Length", "1000")
        api.end_headers()
        for _n in range(100):
            api.wfile.write(b" ")
            api.wfile.flush()
            time.sleep(0.02)

    with serving(handle) as (url, _), pytest.raises(UserError, match=r"more than 0\.2 seconds|timed out"):
        Endpoint(url, timeout=0.2, retries=0).post("thing", {})


def test_a_reply_that_is_cut_off_is_asked_for_again() -> None:
    def handle(api: Api, number: int, body: Any) -> None:
        if number:
            api.reply({"whole": True})
        else:
            api.close_connection = True
            api.reply(b'{"who', Content_Length="100")

    with serving(handle) as (url, _):
        assert Endpoint(url, sleep=lambda _: None).post("thing", {}) == {"whole": True}


def test_the_key_is_sent_to_this_server_only_and_never_shown() -> None:
    def elsewhere(api: Api, *_: Any) -> None:
        api.reply({"stolen": True})

    with serving(elsewhere) as (other, stolen):
        with serving(lambda api, *_: api.reply({}, 307, Location=f"{other}/thing")) as (url, seen):
            endpoint = Endpoint(url, api_key="k-123")
            with pytest.raises(UserError, match="HTTP 307"):
                endpoint.post("thing", {})
        assert seen[0][1]["Authorization"] == "Bearer k-123"
        assert stolen == []
    assert "k-123" not in repr(endpoint)


@pytest.mark.parametrize("url", ["localhost:8000", "file:///etc/passwd", "http://", "ftp://x/v1"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="server's address"):
        Endpoint(url)


def test_a_key_with_a_line_break_is_refused() -> None:
    with pytest.raises(UserError, match="API key"):
        Endpoint("http://localhost/v1", api_key="a\r\nX-Evil: 1")


@pytest.mark.parametrize(
    ("reply", "status", "why"),
    [
        (b"data: {broken\n\n", 200, "did not answer in JSON"),
        (b"data: [1]\n\n", 200, "JSON object"),
        (b"data: {}\n\n" * 100, 200, "more than 500 bytes"),
        (b"x" * 600, 200, "more than 500 bytes"),
        (b'{"error": {"message": "too long"}}', 400, "HTTP 400: too long"),
        (b"", 503, "HTTP 503"),
    ],
)
def test_a_bad_stream_is_one_sentence(reply: bytes, status: int, why: str) -> None:
    with serving(lambda api, *_: api.reply(reply, status)) as (url, seen):
        with pytest.raises(UserError, match=why):
            list(Endpoint(url, max_bytes=500).events("thing", {}))
        assert len(seen) == 1
    with pytest.raises(UserError, match="is the server up"):
        list(Endpoint(url, timeout=2).events("thing", {}))


@pytest.mark.parametrize("headers", [{}, {"Content_Length": "9999", "Connection": "close"}])
def test_a_stream_that_is_cut_off_is_said(headers: dict[str, str]) -> None:
    def handle(api: Api, number: int, body: Any) -> None:
        api.reply(b'data: {"a": 1}\n\n', **headers)
        api.close_connection = True

    with serving(handle) as (url, _), pytest.raises(UserError, match="broke off"):
        list(Endpoint(url).events("thing", {}))
