"""Who may ask, how much and how often; nothing of a request or a model is run."""

import re
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest

from heedful.errors import UserError
from heedful.serve import main
from heedful.serve.config import ServeConfig
from heedful.serve.keys import Buckets, Keyring, keys_of
from heedful.serve.local import LocalEngine
from heedful.serve.metrics import Metrics
from serve import live

MESSAGES = [{"role": "user", "content": "the cat"}]


def test_every_route_but_health_needs_a_key(server: live.Live) -> None:
    document = server.get("openapi.json").json()
    assert len(document["paths"]) == 10
    for path, operations in [
        *document["paths"].items(),
        ("/openapi.json", {"get": {}}),
        ("/nowhere", {"get": {}}),
    ]:
        for method in operations:
            url = server.url + path.replace("{name}", "tiny")
            expected = 200 if path == "/health" else 401
            for headers in (
                {},
                {"Authorization": "Bearer wrong-key-of-many-letters"},
                {"Authorization": live.KEY},
            ):
                reply = httpx.request(method.upper(), url, headers=headers)
                assert reply.status_code == expected, (path, headers)
            if expected == 401:
                assert reply.json()["error"]["code"] == "invalid_api_key"
            assert reply.headers["x-content-type-options"] == "nosniff"
    assert "HTTPValidationError" not in str(document)


def test_keys_are_made_once_for_their_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "new" / "keys"
    (first,), created = keys_of(file)
    assert created
    assert len(first) > 40
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert keys_of(file) == ([first], False)
    file.write_text(f"# of Ada\n{first}\n\n{'b' * 20}\n")
    keys, _ = keys_of(file)
    ring = Keyring(keys)
    assert [ring.owner(k) for k in (first, "b" * 20, "", "b" * 19, "猫")] == [0, 1, None, None, None]
    for bad in ("", "short\n", "with a space in the middle\n"):
        file.write_text(bad)
        with pytest.raises(UserError, match="keys of 16 characters"):
            keys_of(file)


def test_a_bucket_holds_a_burst_and_fills_at_its_rate() -> None:
    now = [0.0]
    buckets = Buckets(2.0, 3, clock=lambda: now[0])
    assert [buckets.take(0) for _ in range(3)] == [0, 0, 0]
    assert buckets.take(0) == pytest.approx(0.5)
    assert buckets.take(1) == 0  # another key has a bucket of its own
    now[0] = 0.5
    assert buckets.take(0) == 0
    now[0] = 100.0
    assert [bool(buckets.take(0)) for _ in range(4)] == [False, False, False, True]


def test_limits_are_told_with_the_time_to_come_again(models: dict[str, str]) -> None:
    with live.serving(model=models["tiny"], slots=1, queue=2, max_body=2000, rate=0.001, burst=8) as server:
        body = {"model": "tiny", "messages": MESSAGES, "max_tokens": 5}
        long = {**body, "messages": [{"role": "user", "content": "x" * 3000}]}
        reply = server.post("chat/completions", long)
        assert (reply.status_code, reply.json()["error"]["code"]) == (413, "body_too_large")

        def parts() -> Any:  # no Content-Length
            yield from [b'{"x": "', b"y" * 3000, b'"}']

        headers = {**server.headers, "content-type": "application/json"}
        reply = httpx.post(f"{server.v1}/chat/completions", content=parts(), headers=headers)
        assert reply.status_code == 413
        reply = server.post("chat/completions", {**body, "n": 3})
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "queue_full")
        assert reply.headers["retry-after"] == "1"
        assert server.post("chat/completions", {**body, "n": 2}).status_code == 200
        statuses = [server.post("chat/completions", body).status_code for _ in range(5)]
        assert statuses == [200] * 4 + [429]
        reply = server.post("chat/completions", body)
        assert reply.json()["error"]["code"] == "rate_limit_exceeded"
        assert int(reply.headers["retry-after"]) > 500
        assert httpx.get(f"{server.url}/health").status_code == 200


def test_a_model_with_code_or_pickled_weights_is_refused(models: dict[str, str], tmp_path: Path) -> None:
    def refuse(match: str, **settings: Any) -> None:
        with pytest.raises(UserError, match=match):
            LocalEngine(ServeConfig(**settings), Metrics())

    source = Path(models["tiny"])
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    for file in source.iterdir():
        if file.suffix != ".safetensors":
            (pickled / file.name).write_bytes(file.read_bytes())
    (pickled / "pytorch_model.bin").write_bytes(
        b"cos\nsystem\n(S'touch " + str(tmp_path).encode() + b"/ran'\ntR."
    )
    refuse("cannot load", model=str(pickled))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.bin").write_bytes(b"x")
    refuse("no adapter_model.safetensors", model=models["tiny"], adapters={"a": str(adapter)})
    code = tmp_path / "code"
    code.mkdir()
    for file in source.iterdir():
        (code / file.name).write_bytes(file.read_bytes())
    config = (code / "config.json").read_text()
    auto = '"auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}, "model_type": "evil"'
    (code / "config.json").write_text(re.sub(r'"model_type": "\w+"', auto, config))
    (code / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    refuse("cannot load", model=str(code))
    assert not (tmp_path / "ran").exists()


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(server: live.Live) -> None:
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(UserError, match=f"127.0.0.1:{port} cannot be listened on"):
        main.main(ServeConfig(model="no/where/at/all", port=port))


def test_settings_that_do_not_go_together_are_refused(models: dict[str, str]) -> None:
    for settings, match in (
        ({}, "nothing to serve"),
        ({"models": {"a": "b"}}, "go with a model"),
        ({"model": "x", "api_key": "short"}, "at least 16"),
        ({"model": "x", "colour": "red"}, "colour"),
    ):
        with pytest.raises(ValueError, match=match):
            ServeConfig(**settings)
    with pytest.raises(UserError, match="two models are called"):
        LocalEngine(ServeConfig(model=models["tiny"], models={"tiny": models["other"]}), Metrics())
