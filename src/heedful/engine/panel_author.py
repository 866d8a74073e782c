"""Whoever answers panel requests: a model on disk or a server, with its length, its cost and its tries counted."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from heedful.data import chat
from heedful.engine import terminal
from heedful.engine.endpoint import Endpoint, Refused
from heedful.engine.policy import Policy
from heedful.engine.sampler import Sampler
from heedful.engine.sampler_server import ServerSampler
from heedful.engine.sampling import Sampling
from heedful.panels.desk import Ask
from heedful.panels.grammar import lines_of
from heedful.types import Prompt

KEY = "HEEDFUL_API_KEY"
"""The environment variable that holds a server's key: settings are written to disk, keys are not."""


@dataclass(slots=True)
class Author:
    """A sampler that answers panel requests.

    `length` counts a text's tokens (a server's are estimated, three characters each), `context` is how many fit
    or None if unknown, and `explained` says that requests carry the instructions. `constrained` is how answers are
    kept to their form: by a Lark grammar, by a JSON schema, or not at all ("").
    """

    sampler: Sampler
    length: Callable[[str], int]
    context: int | None
    explained: bool
    constrained: Literal["lark", "schema", ""]
    spent: Counter[str] = field(default_factory=Counter)

    def answer(
        self, asks: Sequence[Ask], *, temperature: float, max_completion_length: int, seed: Sequence[Any]
    ) -> list[tuple[str, ...]]:
        """Texts for each request; all have to be of one kind, so that one form serves them.

        A server that refuses a JSON schema is asked without one from then on, which is said.
        """
        if not asks:
            return []
        form = asks[0].form
        grammar = getattr(form, self.constrained) if form is not None and self.constrained else ""
        how = Sampling(max_completion_length, temperature, grammar=grammar)
        prompts = [Prompt(str(number), ask.messages) for number, ask in enumerate(asks)]
        try:
            answers = self.sampler.answer(prompts, how, seed=seed, n=asks[0].n)
        except Refused as refusal:
            if not grammar:
                raise
            answers = self.sampler.answer(prompts, replace(how, grammar=""), seed=seed, n=asks[0].n)
            self.constrained = ""
            terminal.say(f"{refusal}; answers are asked for without a JSON schema from here on")
        found = [
            tuple(map(lines_of, a.texts)) if self.constrained == "schema" and form else a.texts
            for a in answers
        ]
        self.spent["requests"] += sum(map(len, found))
        self.spent["prompt_tokens"] += sum(sum(self.length(m.content) for m in a.messages) for a in asks)
        self.spent["completion_tokens"] += sum(self.length(text) for row in found for text in row)
        return found


def open_author(model: str, server: str = "", *, explained: bool | None = None) -> Author:
    """A model in this process, or `model` behind an OpenAI-compatible `server`; only the latter needs explaining."""
    if server:
        sampler = ServerSampler(Endpoint(server, os.environ.get(KEY)), model)
        return Author(sampler, estimated, None, explained is not False, "schema")
    policy = Policy.load(model)
    context = getattr(policy.model.config, "max_position_embeddings", None)

    def length(text: str) -> int:
        return len(policy.tokenizer.encode(text, add_special_tokens=False))

    return Author(policy, length, context, bool(explained), "lark")


def estimated(text: str) -> int:
    """About how many tokens a text has, where the tokenizer is not known."""
    return -(-len(text.encode()) // 3)


def frame_length(author: Author, ask: Ask) -> int:
    """How many tokens a request has with all that the chat template adds, where the tokenizer is known."""
    if isinstance(author.sampler, Policy):
        return len(chat.render_prompt(author.sampler.tokenizer, ask.messages))
    return sum(author.length(m.content) + 4 for m in ask.messages)
