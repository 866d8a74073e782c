"""`/v1/chat/completions`."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from heedful.serve import answers as answered
from heedful.serve import asking
from heedful.serve.answers import Answer, describe
from heedful.serve.asking import Plan
from heedful.serve.backend import Backend, Served
from heedful.serve.common import ERRORS, STREAMED, identify, serve_of, served_model
from heedful.serve.errors import ApiError
from heedful.serve.leaving import EventStream, unless_gone
from heedful.serve.replies import ChatReply
from heedful.serve.requests import ChatRequest
from heedful.serve.worker import Piece
from heedful.types import Message

router = APIRouter()


@router.post("/v1/chat/completions", response_model=ChatReply, responses={**ERRORS, **STREAMED})
async def chat_completions(body: ChatRequest, request: Request) -> Response:
    """Answer a dialogue."""
    backend = serve_of(request)
    served = served_model(backend, body.model)
    messages = asking.chat_messages(served, body)
    plan = await planned(served, body, messages)
    reward = None if body.reward is None else answered.reward_name(backend, body.reward)
    answering = backend.submit(served.name, plan.asks, plan.stop)

    def close() -> None:
        backend.cancel(answering)

    talk = Talk(backend, served, body, plan, messages, reward)
    if body.stream:
        return EventStream(talk.events(answering), close)
    return JSONResponse(await unless_gone(request, talk.whole(answering), close))


async def planned(served: Served, body: ChatRequest, messages: Sequence[Message]) -> Plan:
    """The plan of a request; a schema takes a moment, which others need not wait for."""
    if body.max_completion_tokens is not None and body.max_tokens is not None:
        raise ApiError("give max_tokens or max_completion_tokens, not both", param="max_tokens")
    longest = body.max_completion_tokens if body.max_tokens is None else body.max_tokens
    if longest == 0:
        raise ApiError("max_tokens must be at least 1", param="max_tokens")
    if body.top_logprobs and not body.logprobs:
        raise ApiError("top_logprobs goes with logprobs=true", param="top_logprobs")
    given: dict[str, Any] = {
        "longest": longest,
        "logprobs": (body.top_logprobs or 0) if body.logprobs else None,
        "schema": schema_of(body),
    }
    prompts = [asking.chat_prompt(served, messages, body.condition)]
    if given["schema"] is None:
        return asking.plan(served, body, prompts, **given)
    return await asyncio.to_thread(asking.plan, served, body, prompts, **given)


def schema_of(body: ChatRequest) -> dict[str, Any] | None:
    """The JSON schema that answers must obey, or None for free text."""
    asked = body.response_format
    if asked is None or asked.type == "text":
        return None
    if asked.type == "json_object":
        return {"type": "object"}
    if asked.json_schema is None:
        raise ApiError("response_format needs its json_schema", param="response_format")
    return asked.json_schema.schema_


class Talk:
    """One request and how its response is put together."""

    def __init__(
        self,
        backend: Backend,
        served: Served,
        body: ChatRequest,
        plan: Plan,
        messages: Sequence[Message],
        reward: str | None,
    ) -> None:
        self.backend, self.served, self.body, self.plan = backend, served, body, plan
        self.messages, self.reward = messages, reward
        self.head = {"id": identify("chatcmpl"), "created": int(time.time()), "model": served.name}

    async def whole(self, answering: Any) -> dict[str, Any]:
        """The response in one piece."""
        found = await answered.collect(answering, self.plan)
        if self.reward is not None:
            await answered.rewarded(self.backend, self.reward, self.messages, found)
        choices = [self._choice(i, a) for i, a in enumerate(answered.chosen(self.plan, found))]
        counted = answered.usage(self.plan, sum(len(a.tokens) for a in found))
        return {**self.head, "object": "chat.completion", "choices": choices, "usage": counted}

    def _choice(self, index: int, answer: Answer) -> dict[str, Any]:
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        choice = {"index": index, "message": message, "finish_reason": answer.end, "logprobs": None}
        if self.body.logprobs:
            choice["logprobs"] = self._logprobs(answer.tokens, answer.logps, answer.tops)
        if answer.reward is not None:
            choice["reward"] = answer.reward
        if self.body.return_token_ids:
            choice |= {"token_ids": answer.tokens, "prompt_token_ids": list(self.plan.prompts[0])}
        return choice

    def _logprobs(self, tokens: Sequence[int], logps: Sequence[float], tops: Sequence[Any]) -> dict[str, Any]:
        spelling = self.served.spelling
        content = []
        for token, logp, top in zip(tokens, logps, tops, strict=True):
            likeliest = [describe("token", spelling, t, value) for t, value in top]
            content.append({**describe("token", spelling, token, logp), "top_logprobs": likeliest})
        return {"content": content, "refusal": None}

    async def events(self, answering: Any) -> AsyncIterator[dict[str, Any]]:
        """The response in chunks; a chunk holds all that was written since the last one."""
        opened: set[int] = set()
        found = [Answer() for _ in self.plan.asks]
        async for pieces in answering:
            by_answer: dict[int, list[Piece]] = {}
            for piece in pieces:
                by_answer.setdefault(piece.answer, []).append(piece)
                found[piece.answer].take(piece)
            for index, part in by_answer.items():
                delta = {} if index in opened else {"role": "assistant"}
                opened.add(index)
                yield self._chunk(index, part, delta)
            if any(p.end for p in pieces):
                answered.check_grammars(self.plan)
        if self.reward is not None:
            await answered.rewarded(self.backend, self.reward, self.messages, found)
        for index, answer in enumerate(found):
            choice = {"index": index, "delta": {}, "finish_reason": answer.end, "logprobs": None}
            if answer.reward is not None:
                choice["reward"] = answer.reward
            yield self._framed([choice])
        if self.body.stream_options and self.body.stream_options.include_usage:
            counted = answered.usage(self.plan, sum(len(a.tokens) for a in found))
            yield {**self._framed([]), "usage": counted}

    def _chunk(self, index: int, part: Sequence[Piece], delta: dict[str, Any]) -> dict[str, Any]:
        delta = {**delta, "content": "".join(p.text for p in part)}
        choice = {"index": index, "delta": delta, "finish_reason": None, "logprobs": None}
        if self.body.logprobs:
            told = ([p.token for p in part], [p.logp or 0.0 for p in part], [p.top for p in part])
            choice["logprobs"] = self._logprobs(*told)
        if self.body.return_token_ids:
            choice["token_ids"] = [p.token for p in part]
        return self._framed([choice])

    def _framed(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self.head, "object": "chat.completion.chunk", "choices": choices}
