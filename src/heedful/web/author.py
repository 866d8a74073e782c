"""A model behind an OpenAI-compatible server, as the writer's desk asks it: whole answers, piece by piece, in order."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from heedful.errors import UserError, said
from heedful.panels.desk import Ask
from heedful.panels.grammar import lines_of
from heedful.types import Message

LONGEST = 10_000
"""Characters of an answer that are taken at most: what it says is part of the next request."""
_REFUSED = (400, 404, 422, 501)
TIMEOUT = httpx.Timeout(120.0, connect=5.0)


@dataclass(slots=True)
class Author:
    """`url` is the API's base address; the first model that it lists answers, as long as the server lets it.

    Answers that have a form are held to it by a JSON schema; a server that refuses schemas is asked without, and
    `held` is then False.
    """

    url: str
    key: str = field(default="", repr=False)
    held: bool = True

    def answers(self, ask: Ask, *, temperature: float) -> list[str]:
        """Every answer to a request: one call each, since not every server takes `n`."""
        with self._client() as client:
            model = _model(client)
            found = []
            for number in range(ask.n):
                body = self._body(model, ask, temperature) | {"seed": number}
                reply = _checked(self._reply(client, body, ask))
                found.append(lines_of(_part(_json(reply), "message")[:LONGEST]))
            return found

    def _reply(self, client: httpx.Client, body: dict[str, Any], ask: Ask) -> httpx.Response:
        if ask.form is not None and self.held:
            held = body | {"response_format": ask.form.response_format}
            reply = client.post("chat/completions", json=held)
            if reply.status_code not in _REFUSED:
                return reply
            self.held = False
        return client.post("chat/completions", json=body)

    def pieces(self, ask: Ask, *, temperature: float) -> Iterator[str]:
        """One answer as it is written."""
        length = 0
        with self._client() as client:
            body = self._body(_model(client), ask, temperature) | {"stream": True}
            with client.stream("POST", "chat/completions", json=body) as reply:
                if reply.status_code != 200:
                    reply.read()
                    _checked(reply)
                for line in reply.iter_lines():
                    data = line.removeprefix("data:").strip()
                    if not line.startswith("data:") or data == "[DONE]":
                        continue
                    piece = _part(_loaded(data), "delta")
                    length += len(piece)
                    if length > LONGEST:
                        return
                    if piece:
                        yield piece

    def best(self, messages: Sequence[Message], texts: Sequence[str]) -> int:
        """Which of several answers the server's reward model likes best (`heedful serve MODEL reward=DIR`)."""
        body = {"messages": _spoken(messages), "answers": list(texts)}
        with self._client() as client:
            reply = client.post("rank", json=body)
        if reply.status_code != 200:
            raise UserError(
                f"The model's server ranks no plans (HTTP {reply.status_code}): start it with a reward model, as in "
                "heedful serve MODEL reward=DIR, or choose otherwise."
            )
        rows = _json(reply).get("data")
        first = rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else {}
        number = first.get("index")
        if type(number) is not int or not 0 <= number < len(texts):
            raise UserError("The model's server did not say which plan is best: is it heedful serve?")
        return number

    def _client(self) -> httpx.Client:
        # Neither proxies of the environment nor redirects: the address is the one that was given.
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        address = self.url.rstrip("/") + "/"
        return httpx.Client(base_url=address, headers=headers, timeout=TIMEOUT, trust_env=False)

    def _body(self, model: str, ask: Ask, temperature: float) -> dict[str, Any]:
        said = _spoken(ask.messages)
        return {"model": model, "messages": said, "temperature": temperature}


def _spoken(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]


def _model(client: httpx.Client) -> str:
    listed = _json(_checked(client.get("models"))).get("data")
    if not isinstance(listed, list) or not listed or not isinstance(listed[0], dict):
        raise UserError("The model's server lists no model: start one, or give the studio another --model.")
    return str(listed[0].get("id", ""))


def _checked(reply: httpx.Response) -> httpx.Response:
    if reply.status_code != 200:
        why = said(reply.content[:2000]) or "is a model loaded there?"
        raise UserError(f"The model's server refused with HTTP {reply.status_code}: {why}")
    return reply


def _json(reply: httpx.Response) -> dict[str, Any]:
    return _loaded(reply.text)


def _loaded(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError("The model's server did not answer in JSON: is it an OpenAI-compatible API?")
    return found


def _part(reply: dict[str, Any], name: str) -> str:
    choices = reply.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    inner = first.get(name)
    content = inner.get("content") if isinstance(inner, dict) else None
    # A lone half of a surrogate pair is valid JSON, and no text.
    return content.encode(errors="replace").decode() if isinstance(content, str) else ""
