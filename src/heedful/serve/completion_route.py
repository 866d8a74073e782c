"""`/v1/completions`: text or token ids that go on, and the log-probs of given texts."""

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from heedful.engine.likelihood import TokenLogp
from heedful.serve import answers as answered
from heedful.serve import asking
from heedful.serve.answers import Answer
from heedful.serve.asking import Plan
from heedful.serve.backend import Backend, Served
from heedful.serve.common import ERRORS, STREAMED, identify, serve_of, served_model
from heedful.serve.errors import ApiError
from heedful.serve.leaving import EventStream, unless_gone
from heedful.serve.replies import CompletionReply
from heedful.serve.requests import CompletionRequest
from heedful.serve.worker import Piece

router = APIRouter()


@router.post("/v1/completions", response_model=CompletionReply, responses={**ERRORS, **STREAMED})
async def completions(body: CompletionRequest, request: Request) -> Response:
    """Let texts go on."""
    backend = serve_of(request)
    served = served_model(backend, body.model)
    if body.reward is not None:
        raise ApiError("rewards are of answers in a dialogue: use /v1/chat/completions", param="reward")
    prompts = prompts_of(served, body)
    longest = 16 if body.max_tokens is None else body.max_tokens
    if longest == 0 and not body.echo:
        raise ApiError("max_tokens=0 goes with echo=true only", param="max_tokens")
    plan = asking.plan(served, body, prompts, longest=longest, logprobs=body.logprobs)
    work = Going(backend, served, body, plan)
    # Without new tokens there is nothing to draw: the prompts alone are asked about.
    answering = backend.submit(served.name, plan.asks, plan.stop) if longest else _Nothing()

    def close() -> None:
        if longest:
            backend.cancel(answering)

    if body.stream:
        return EventStream(work.events(answering), close)
    return JSONResponse(await unless_gone(request, work.whole(answering), close))


class _Nothing:
    """No answers."""

    async def __aiter__(self) -> AsyncIterator[list[Piece]]:
        nothing: tuple[list[Piece], ...] = ()
        for pieces in nothing:
            yield pieces


def prompts_of(served: Served, body: CompletionRequest) -> list[tuple[int, ...]]:
    """The prompts as token ids: text, texts, ids or lists of ids."""
    given: Any = body.prompt
    if isinstance(given, str):
        return [asking.encoded(served, given)]
    if isinstance(given[0], int):
        return [tuple(given)]
    return [asking.encoded(served, g) if isinstance(g, str) else tuple(g) for g in given]


class Going:
    """One request and how its response is put together."""

    def __init__(self, backend: Backend, served: Served, body: CompletionRequest, plan: Plan) -> None:
        self.backend, self.served, self.body, self.plan = backend, served, body, plan
        self.head = {
            "id": identify("cmpl"),
            "object": "text_completion",
            "created": int(time.time()),
            "model": served.name,
        }

    async def whole(self, answering: Any) -> dict[str, Any]:
        """The response in one piece."""
        told = await self._told()
        found = await answered.collect(answering, self.plan)
        kept = answered.chosen(self.plan, found)
        choices = []
        for index, answer in enumerate(kept):
            at = index // self.plan.n
            choices.append(self._choice(index, answer, self.plan.prompts[at], told[at] if told else None))
        counted = answered.usage(self.plan, sum(len(a.tokens) for a in found))
        return {**self.head, "choices": choices, "usage": counted}

    async def _told(self) -> list[list[TokenLogp]] | None:
        """The log-probs of the prompts, where they are asked for."""
        if not self.body.echo or self.body.logprobs is None:
            return None
        return await self.backend.logps(self.served.name, self.plan.prompts, self.body.logprobs)

    def _choice(
        self, index: int, answer: Answer, prompt: Sequence[int], told: Sequence[TokenLogp] | None
    ) -> dict[str, Any]:
        before = self._text(prompt) if self.body.echo else ""
        end = answer.end or "length"
        choice = {"index": index, "text": before + answer.text, "finish_reason": end, "logprobs": None}
        if self.body.logprobs is not None:
            tokens, logps, tops = (
                list(answer.tokens),
                list[float | None](answer.logps),
                list[Any](answer.tops),
            )
            if told is not None:
                tokens = [*prompt, *tokens]
                logps = [None, *(t.logp for t in told), *logps]
                tops = [None, *(t.top for t in told), *tops]
            choice["logprobs"] = self._logprobs(tokens, logps, tops)
        if self.body.return_token_ids:
            choice |= {"token_ids": answer.tokens, "prompt_token_ids": list(prompt)}
        return choice

    def _text(self, ids: Sequence[int]) -> str:
        return str(self.served.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _logprobs(
        self, tokens: Sequence[int], logps: Sequence[float | None], tops: Sequence[Any], start: int = 0
    ) -> dict[str, Any]:
        """In the older form; a token's own log-prob stands among the likeliest, as the same number."""
        spelling = self.served.spelling
        texts = [spelling.text(t) for t in tokens]
        offsets, at = [], start
        for text in texts:
            offsets.append(at)
            at += len(text)
        rows: list[dict[str, float] | None] = []
        for text, logp, top in zip(texts, logps, tops, strict=True):
            if top is None or logp is None:
                rows.append(None)
                continue
            row: dict[str, float] = {}
            for t, value in top:
                row.setdefault(spelling.text(t), value)
            row.setdefault(text, logp)
            rows.append(row)
        return {
            "tokens": texts,
            "token_logprobs": list(logps),
            "top_logprobs": rows if self.body.logprobs else None,
            "text_offset": offsets,
        }

    async def events(self, answering: Any) -> AsyncIterator[dict[str, Any]]:
        """The response in chunks; an echoed prompt is the first one of its answers."""
        found = [Answer() for _ in self.plan.asks]
        told = await self._told()
        if self.body.echo:
            for index in range(len(found)):
                prompt = self.plan.prompts[index // self.plan.n]
                lines = None if told is None else told[index // self.plan.n]
                choice = self._choice(index, Answer(), prompt, lines)
                yield self._framed([{**choice, "finish_reason": None}])
        offsets = [0] * len(found)
        async for pieces in answering:
            for piece in pieces:
                found[piece.answer].take(piece)
                yield self._framed([self._piece(piece, offsets)])
        for index, answer in enumerate(found):
            end = answer.end or "length"
            yield self._framed([{"index": index, "text": "", "finish_reason": end, "logprobs": None}])
        if self.body.stream_options and self.body.stream_options.include_usage:
            counted = answered.usage(self.plan, sum(len(a.tokens) for a in found))
            yield {**self._framed([]), "usage": counted}

    def _piece(self, piece: Piece, offsets: list[int]) -> dict[str, Any]:
        choice = {"index": piece.answer, "text": piece.text, "finish_reason": None, "logprobs": None}
        if self.body.logprobs is not None:
            told = self._logprobs([piece.token], [piece.logp], [piece.top], offsets[piece.answer])
            offsets[piece.answer] += len(told["tokens"][0])
            choice["logprobs"] = told
        if self.body.return_token_ids:
            choice["token_ids"] = [piece.token]
        return choice

    def _framed(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self.head, "choices": choices}
