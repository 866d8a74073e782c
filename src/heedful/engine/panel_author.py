"""Whoever answers panel requests: a model on disk or a server, with its length, its cost and its tries counted."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from heedful.data import chat
from heedful.engine.endpoint import Endpoint
from heedful.engine.policy import Policy
from heedful.engine.sampler import Sampler
from heedful.engine.sampler_server import ServerSampler
from heedful.engine.sampling import Sampling
from heedful.panels.desk import Ask
from heedful.types import Prompt

KEY = "HEEDFUL_API_KEY"
"""The environment variable that holds a server's key: settings are written to disk, keys are not."""


@dataclass(frozen=True, slots=True)
class Author:
    """A sampler that answers panel requests.

    `length` counts a text's tokens (a server's are estimated, three characters each), `context` is how many fit
    or None if unknown, `explained` says that requests carry the instructions, and `constrained` that grammars work.
    """

    sampler: Sampler
    length: Callable[[str], int]
    context: int | None
    explained: bool
    constrained: bool
    spent: Counter[str] = field(default_factory=Counter)

    def answer(
        self, asks: Sequence[Ask], *, temperature: float, max_completion_length: int, seed: Sequence[Any]
    ) -> list[tuple[str, ...]]:
        """Texts for each request; all have to be of one kind, so that one grammar serves them."""
        if not asks:
            return []
        grammar = asks[0].grammar if self.constrained else ""
        how = Sampling(max_completion_length, temperature, grammar=grammar)
        prompts = [Prompt(str(number), ask.messages) for number, ask in enumerate(asks)]
        found = [a.texts for a in self.sampler.answer(prompts, how, seed=seed, n=asks[0].n)]
        self.spent["requests"] += sum(map(len, found))
        self.spent["prompt_tokens"] += sum(sum(self.length(m.content) for m in a.messages) for a in asks)
        self.spent["completion_tokens"] += sum(self.length(text) for row in found for text in row)
        return found


def open_author(model: str, server: str = "", *, explained: bool | None = None) -> Author:
    """A model in this process, or `model` behind an OpenAI-compatible `server`; only the latter needs explaining."""
    if server:
        sampler = ServerSampler(Endpoint(server, os.environ.get(KEY)), model)
        return Author(sampler, estimated, None, explained is not False, constrained=False)
    policy = Policy.load(model)
    context = getattr(policy.model.config, "max_position_embeddings", None)

    def length(text: str) -> int:
        return len(policy.tokenizer.encode(text, add_special_tokens=False))

    return Author(policy, length, context, bool(explained), constrained=True)


def estimated(text: str) -> int:
    """About how many tokens a text has, where the tokenizer is not known."""
    return -(-len(text.encode()) // 3)


def frame_length(author: Author, ask: Ask) -> int:
    """How many tokens a request has with all that the chat template adds, where the tokenizer is known."""
    if isinstance(author.sampler, Policy):
        return len(chat.render_prompt(author.sampler.tokenizer, ask.messages))
    return sum(author.length(m.content) + 4 for m in ask.messages)
