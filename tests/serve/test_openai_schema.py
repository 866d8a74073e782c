"""Every reply and every chunk against OpenAI's own models, which its client generates from the official specification.

Nothing required is missing, no type is another, and beyond the specification there is only what docs/serve.md names.
One thing departs from its letter: the first token of an echoed prompt has no log-prob and gets null, which OpenAI's
servers answer too, and clients expect.
"""

from typing import Any

import pytest

openai = pytest.importorskip("openai", reason="pip install -e '.[clients]'")

from openai import types  # noqa: E402
from openai.types import chat  # noqa: E402
from pydantic import BaseModel, TypeAdapter  # noqa: E402

from serve.live import Live  # noqa: E402
from serve.test_api import MESSAGES, events  # noqa: E402

OURS = {
    "reward", "token_ids", "prompt_token_ids", "root", "parent", "max_model_len", "kind", "fingerprint"
}  # fmt: skip


def strictly(kind: Any, found: Any) -> None:
    """Validate without coercion, then look for fields that the model does not have."""
    made = TypeAdapter(kind).validate_python(found, strict=True)
    beyond(made, "")


def beyond(value: Any, place: str) -> None:
    if isinstance(value, BaseModel):
        unknown = set(value.model_extra or {}) - OURS
        assert not unknown, f"{place}: {unknown} is not in the specification"
        for name in value.model_fields_set - set(value.model_extra or {}):
            beyond(getattr(value, name), f"{place}.{name}")
    elif isinstance(value, list):
        for n, item in enumerate(value):
            beyond(item, f"{place}[{n}]")


CHATS: list[dict[str, Any]] = [
    {},
    {"n": 2, "logprobs": True, "top_logprobs": 3, "seed": 1},
    {"logprobs": True, "stop": "the", "return_token_ids": True},
    {"reward": "judge", "best_of": 3},
]
COMPLETIONS: list[dict[str, Any]] = [
    {"prompt": "the cat"},
    {"prompt": ["the", "cat"], "n": 2, "logprobs": 2, "echo": True},
    {"prompt": [5, 6, 7], "echo": True, "max_tokens": 0, "logprobs": 1},
]


@pytest.mark.parametrize("asked", CHATS)
def test_chat_replies(asked: dict[str, Any], server: Live) -> None:
    body = {"model": "tiny", "messages": MESSAGES, "max_tokens": 6, **asked}
    reply = server.post("chat/completions", body)
    assert reply.status_code == 200, reply.text
    strictly(chat.ChatCompletion, reply.json())


@pytest.mark.parametrize("asked", CHATS[:3])
def test_chat_chunks(asked: dict[str, Any], server: Live) -> None:
    more = {"stream_options": {"include_usage": True}}
    for chunk in events(server, "chat/completions", messages=MESSAGES, max_tokens=6, **asked, **more):
        strictly(chat.ChatCompletionChunk, chunk)


@pytest.mark.parametrize("asked", COMPLETIONS)
@pytest.mark.parametrize("stream", [False, True])
def test_completions(asked: dict[str, Any], stream: bool, server: Live) -> None:
    body = {"max_tokens": 6, **asked}
    if stream:
        found = events(server, "completions", **body)
    else:
        found = [server.post("completions", {"model": "tiny", **body}).json()]
    for reply in found:
        for told in (choice["logprobs"] for choice in reply["choices"] if choice["logprobs"]):
            for column in ("token_logprobs", "top_logprobs"):
                told[column] = told[column][told[column][:1] == [None] :]
        # The specification has no model for chunks: a choice that goes on has no finish_reason yet.
        for choice in reply["choices"] if stream else ():
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        strictly(types.Completion, reply)


def test_models_embeddings_and_errors(server: Live) -> None:
    listed = server.get("v1/models").json()
    assert listed["object"] == "list"
    for model in listed["data"]:
        strictly(types.Model, model)
    reply = server.post("embeddings", {"model": "tiny", "input": ["the", "cat"]}).json()
    strictly(types.CreateEmbeddingResponse, reply)
    refused = server.post("chat/completions", {"model": "none", "messages": MESSAGES}).json()
    strictly(types.ErrorObject, refused["error"])
