"""The studio's client of a model server: any that speaks OpenAI's API. Nothing here imports a model."""

import hashlib
import hmac
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import httpx

from heedful.errors import said
from heedful.web.session import Problem
from heedful.web.studio import Studio

PATIENCE = httpx.Timeout(10.0, read=120.0)


def client(studio: Studio) -> httpx.AsyncClient:
    """A connection to the model server. Raises Problem without one."""
    if not studio.settings.model:
        raise Problem(409, "no_model")
    key = studio.settings.model_key or os.environ.get("HEEDFUL_API_KEY", "")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(
        base_url=studio.settings.model, headers=headers, timeout=PATIENCE, trust_env=False
    )


async def models(studio: Studio) -> list[str]:
    """The models that write, as the server names them."""
    async with client(studio) as server:
        try:
            reply = await server.get("models")
            listed = reply.raise_for_status().json()["data"]
            return [str(m["id"]) for m in listed if m.get("kind", "language") != "reward"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            raise Problem(503, "model_away") from None


async def answer(
    studio: Studio, model: str, messages: Sequence[Mapping[str, str]], sampling: Mapping[str, Any]
) -> AsyncIterator[dict[str, str]]:
    """Yield {"text": ...} as it is written, then {"end": reason}; a server that fails gives {"error": sentence}.

    Whoever stops iterating closes the connection, which tells the server to stop.
    """
    body = {"model": model, "messages": list(messages), "stream": True, **sampling}
    async with client(studio) as server:
        try:
            async with server.stream("POST", "chat/completions", json=body) as reply:
                if reply.status_code != 200:
                    yield {"error": said(await reply.aread())}
                    return
                end = ""
                async for line in reply.aiter_lines():
                    if not line.startswith("data: ") or line == "data: [DONE]":
                        continue
                    event = json.loads(line.removeprefix("data: "))
                    if "error" in event:
                        yield {"error": str(event["error"].get("message", ""))[:300]}
                        return
                    for choice in event["choices"]:
                        end = choice["finish_reason"] or end
                        if text := choice["delta"].get("content"):
                            yield {"text": text}
                yield {"end": end} if end else {"error": ""}
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
            yield {"error": ""}


def seal(
    studio: Studio, model: str, messages: Sequence[Mapping[str, str]], sampling: Mapping[str, Any], text: str
) -> str:
    """What proves later that this model wrote this text here, without saying which model it was."""
    said = json.dumps([model, list(messages), dict(sampling), text], sort_keys=True).encode()
    return hmac.new(studio.secret, b"answer:" + said, hashlib.sha256).hexdigest()
