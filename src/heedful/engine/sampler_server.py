"""Answers from any server with OpenAI's API (vLLM, SGLang, llama.cpp, Ollama, hosted ones)."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.pool import ThreadPool
from typing import Any

import numpy as np

from heedful.data import chat
from heedful.engine.endpoint import Endpoint
from heedful.engine.sampler import (
    Answered,
    Asked,
    TokenPrompt,
    answered,
    check_foreign,
    keys,
    prompt_ids,
    tells_logp,
)
from heedful.engine.sampling import Sample, Sampling
from heedful.errors import UserError, said

USAGE = ("prompt_tokens", "completion_tokens")


class ServerSampler:
    """A model behind an OpenAI-compatible API as a `Sampler`; every answer is a request with a seed of its own.

    Without a tokenizer, messages go to /chat/completions and the server's chat template renders them. With one,
    prompts are rendered here, as in training, and go to /completions as token ids. `tokens` asks for the answers'
    ids and log-probs too, which vLLM's server gives; else they are empty, as are log-probs at temperatures other
    than 0 and 1, since servers tell those of temperature 1. Options beyond OpenAI's own are sent only where they
    are used. `usage` adds up the tokens that replies say they took, and counts the replies that say it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        model: str,
        tokenizer: Any = None,
        *,
        tokens: bool = False,
        connections: int = 16,
    ) -> None:
        if tokens and tokenizer is None:
            raise UserError(
                "token ids from a server mean something only with its model's tokenizer: give that too"
            )
        if tokenizer is not None:
            chat.ensure_chat_template(tokenizer)
        self.endpoint, self.model, self.tokenizer = endpoint, model, tokenizer
        self.tokens, self.connections = tokens, connections
        self.usage = Counter[str]()

    def answer(
        self, prompts: Sequence[Asked], how: Sampling, *, seed: Sequence[Any], n: int = 1, slots: int = 64
    ) -> list[Answered]:
        """As `Sampler.answer`, with at most `connections` requests in flight."""
        check_foreign(how, "a server")
        sent = [self._prompt(p) for p in prompts]
        jobs = [(s, k) for s, p in zip(sent, prompts, strict=True) for k in keys(p, how, seed, n)]
        with ThreadPool(min(slots, self.connections)) as pool:  # of threads that end with the process
            replies = list(pool.imap(lambda job: self._ask(job[0], job[1], how), jobs))
        for *_, usage in replies:
            self.usage.update(usage)
        drawn = [(sample, text) for sample, text, _ in replies]
        each = len(jobs) // len(prompts) if prompts else 0
        return [
            answered(tuple(s.get("prompt", ())), drawn[i * each : (i + 1) * each], how, n)
            for i, s in enumerate(sent)
        ]

    def pieces(self, prompt: Asked, how: Sampling, *, seed: Sequence[Any]) -> Iterator[str]:
        """The first answer that `answer` gives with this seed, piece by piece as the server sends it."""
        check_foreign(how, "a server")
        sent, (k,) = self._prompt(prompt), keys(prompt, how, seed, 1)
        body = {"model": self.model, **sent, **_options(how), "seed": k >> 32, "stream": True}
        to_chat = "messages" in sent
        for event in self.endpoint.events("chat/completions" if to_chat else "completions", body):
            if event.get("error"):
                raise UserError(f"{self.endpoint.url} broke off: {said(json.dumps(event))}")
            if event.get("choices"):  # the last event of some servers has none
                yield _Reply(event, self.endpoint.url).piece(to_chat)

    def _prompt(self, prompt: Asked) -> dict[str, Any]:
        if self.tokenizer is not None:
            return {"prompt": list(prompt_ids(self.tokenizer, prompt))}
        if isinstance(prompt, TokenPrompt):
            raise UserError(
                "a prompt of token ids is sent to a server only with its tokenizer: give that too"
            )
        return {"messages": [{"role": m.role, "content": m.content} for m in prompt.messages]}

    def _ask(self, prompt: dict[str, Any], k: int, how: Sampling) -> tuple[Sample, str, dict[str, int]]:
        to_chat = "messages" in prompt
        logprobs = tells_logp(how) and (self.tokens or how.best_of is not None)
        body = {"model": self.model, **prompt, **_options(how), "seed": k >> 32}  # many servers take 31 bits
        if logprobs:
            body["logprobs"] = True if to_chat else 1
        if self.tokens:
            body["return_token_ids"] = True
        whole = self.endpoint.post("chat/completions" if to_chat else "completions", body)
        reply = _Reply(whole, self.endpoint.url)
        ids = reply.ids(how.max_completion_length) if self.tokens else []
        logp = reply.logp(how.max_completion_length, to_chat) if logprobs else []
        if self.tokens and logprobs and len(ids) != len(logp):
            raise reply.wrong("as many log-probs as token ids")
        sample = Sample(np.array(ids, np.int64), np.array(logp, np.float32), reply.finished())
        return sample, reply.text(to_chat), _usage(whole)


def _options(how: Sampling) -> dict[str, Any]:
    """Sampling options in the request's words; those at their defaults are left out, as not every server has them."""
    options: dict[str, Any] = {"max_tokens": how.max_completion_length, "temperature": how.temperature}
    default = Sampling()
    for name in ("top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty"):
        if getattr(how, name) != getattr(default, name):
            options[name] = getattr(how, name)
    for name in ("stop", "stop_token_ids"):
        if getattr(how, name):
            options[name] = list(getattr(how, name))
    if how.grammar:
        options["response_format"] = _response_format(how.grammar)
    return options


def _usage(reply: dict[str, Any]) -> dict[str, int]:
    """The tokens that a reply says it took; nothing where it does not say."""
    usage = reply.get("usage")
    found = {name: usage.get(name) for name in USAGE} if isinstance(usage, dict) else {}
    counts = {name: n for name, n in found.items() if type(n) is int and 0 <= n < 2**53}
    return {**counts, "replies": 1} if len(counts) == len(USAGE) else {}


def _response_format(grammar: str) -> dict[str, Any]:
    try:
        schema = json.loads(grammar)
    except ValueError:
        raise UserError(
            "a server takes a JSON schema as grammar, no Lark: sample in this process instead"
        ) from None
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


class _Reply:
    """The first choice of a server's reply, with every part checked before it is used."""

    def __init__(self, reply: dict[str, Any], url: str) -> None:
        self.url = url
        choices = reply.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise self.wrong("a list of choices")
        self.choice: dict[str, Any] = choices[0]

    def wrong(self, wanted: str) -> UserError:
        return UserError(
            f"{self.url} did not send {wanted}: is it an OpenAI-compatible API that can do this?"
        )

    def piece(self, from_chat: bool) -> str:
        """What an event of a stream adds; not every event adds something."""
        part = self.choice.get("delta") if from_chat else self.choice
        text = part.get("content" if from_chat else "text") if isinstance(part, dict) else None
        return text.encode(errors="replace").decode() if isinstance(text, str) else ""

    def text(self, from_chat: bool) -> str:
        message = self.choice.get("message") if from_chat else self.choice
        text = message.get("content" if from_chat else "text", 0) if isinstance(message, dict) else 0
        if text is None:
            return ""
        if not isinstance(text, str):
            raise self.wrong("the text of an answer")
        return text.encode(
            errors="replace"
        ).decode()  # JSON may hold half a surrogate pair, which no file takes

    def finished(self) -> bool:
        reason = self.choice.get("finish_reason")
        if not isinstance(reason, str | None):
            raise self.wrong("a finish_reason")
        return reason == "stop"

    def ids(self, longest: int) -> list[int]:
        ids = self.choice.get("token_ids")
        if not isinstance(ids, list) or not 0 < len(ids) <= longest:
            raise self.wrong("the token ids of an answer")
        if not all(type(i) is int and 0 <= i < 2**31 for i in ids):
            raise self.wrong("token ids that are whole numbers")
        return ids

    def logp(self, longest: int, from_chat: bool) -> list[float]:
        told = self.choice.get("logprobs")
        rows = told.get("content" if from_chat else "token_logprobs") if isinstance(told, dict) else None
        if not isinstance(rows, list) or not 0 < len(rows) <= longest:
            raise self.wrong("the log-probs of an answer")
        values: list[Any] = rows
        if from_chat:
            values = [row.get("logprob") if isinstance(row, dict) else None for row in rows]
        if not all(type(v) in (int, float) and -math.inf < v <= 0 for v in values):
            raise self.wrong("log-probs that are at most 0")
        return [float(v) for v in values]
