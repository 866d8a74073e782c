"""The studio's own model server: a child process that pages reach by HTTP, gone when the studio is."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from heedful.data.store import Store
from heedful.web import model_child, talking
from heedful.web.settings import Settings
from heedful.web.studio import Studio


def test_an_address_is_taken_as_it_is_and_nothing_is_started() -> None:
    with model_child.serving(["http://model:8000/v1"]) as found:
        assert found == ("http://model:8000/v1", "")
    with model_child.serving([]) as found:
        assert found == ("", "")


@pytest.mark.parametrize(
    ("place", "name"),
    [("runs/demo/rl/model", "rl"), ("./tiny/", "tiny"), ("v1.2", "v1-2"), ("model", "model")],
)
def test_names_of_folders(place: str, name: str) -> None:
    assert model_child.name_of(place) == name


async def said(studio: Any, model: str) -> list[dict[str, str]]:
    messages = [{"role": "user", "content": "the cat"}]
    return [event async for event in talking.answer(studio, model, messages, {"max_tokens": 6, "seed": 1})]


@pytest.mark.slow
def test_a_child_serves_and_ends_with_the_studio(models: dict[str, str], tmp_path: Path) -> None:
    with model_child.serving([models["tiny"], models["other"]]) as (url, key):
        settings = Settings("http://127.0.0.1:1", model=url, model_key=key)
        with Store.open(tmp_path / "feedback.db") as store:
            studio = Studio(store, settings)
            limit = time.monotonic() + 240
            while True:
                try:
                    names = asyncio.run(talking.models(studio))
                    break
                except Exception:
                    assert time.monotonic() < limit
                    time.sleep(0.2)
            assert names == ["tiny", "other"]
            events = asyncio.run(said(studio, "other"))
        assert events[-1]["end"] in ("stop", "length")
        assert "".join(e.get("text", "") for e in events)
        stranger = SimpleNamespace(settings=Settings("http://127.0.0.1:1", model=url, model_key="wrong" * 8))
        assert asyncio.run(said(stranger, "tiny")) == [
            {"error": "a valid key is needed: Authorization: Bearer KEY"}
        ]
    with pytest.raises(httpx.TransportError):
        httpx.get(url.removesuffix("/v1") + "/health")
