"""Whoever answers panel requests: a model on disk or a server, with its length, its cost and its tries counted."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from heedful.data import chat
from heedful.engine import piecewise, terminal
from heedful.engine.endpoint import Endpoint, Refused
from heedful.engine.policy import Policy
from heedful.engine.sampler import Asked, Sampler, TokenPrompt, cleaned
from heedful.engine.sampler_server import USAGE, ServerSampler
from heedful.engine.sampling import Sampling
from heedful.errors import UserError
from heedful.panels import budget
from heedful.panels.desk import Ask, Fit
from heedful.panels.grammar import Form, lines_of
from heedful.types import Prompt

KEY = "HEEDFUL_API_KEY"
"""The environment variable that holds a server's key: settings are written to disk, keys are not."""


@dataclass(slots=True)
class Author:
    """A sampler that answers panel requests.

    `length` counts a text's tokens (a server's are estimated, three bytes each), `context` is how many fit
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
        """Texts for each request; requests of one form are answered together. All ask for as many answers."""
        how = Sampling(max_completion_length, temperature)
        for ask in asks:
            self._check(ask)
        before = self._usage()
        alike: dict[Form | None, list[int]] = {}
        for number, ask in enumerate(asks):
            alike.setdefault(ask.form, []).append(number)
        found: dict[int, tuple[str, ...]] = {}
        for form, numbers in alike.items():
            prompts = [self._prompt(str(i), asks[i]) for i in numbers]
            found |= zip(numbers, self._of_form(form, prompts, how, seed, asks[0].n), strict=True)
        self._spend(asks, [found[i] for i in range(len(asks))], self._usage() - before)
        return [tuple(ask.begun + text for text in found[i]) for i, ask in enumerate(asks)]

    def pieces(
        self, ask: Ask, *, temperature: float, max_completion_length: int, seed: Sequence[Any]
    ) -> Iterator[str]:
        """The answer that `answer` gives to a request without a form, piece by piece as it is written."""
        self._check(ask)
        how, prompt = Sampling(max_completion_length, temperature), self._prompt("0", ask)
        if isinstance(self.sampler, Policy):
            written = piecewise.pieces(self.sampler, prompt, how, seed=seed)
        elif isinstance(self.sampler, ServerSampler):
            written = self.sampler.pieces(prompt, how, seed=seed)
        else:
            written = iter(self.sampler.answer([prompt], how, seed=seed)[0].texts)
        told = []
        for piece in written:
            told.append(cleaned(piece))
            yield told[-1]
        self._spend([ask], [("".join(told),)], Counter())

    def _usage(self) -> Counter[str]:
        return Counter(self.sampler.usage) if isinstance(self.sampler, ServerSampler) else Counter()

    def _spend(self, asks: Sequence[Ask], answers: Sequence[Sequence[str]], usage: Counter[str]) -> None:
        """Count what was asked and answered: as the server says, if each of its replies did, and else by `length`."""
        requests = sum(map(len, answers))
        if usage["replies"] < requests:
            # A server reads the prompt for each answer, a model in this process once.
            times = [1 if isinstance(self.sampler, Policy) else len(row) for row in answers]
            lengths = [sum(self.length(m.content) for m in ask.messages) for ask in asks]
            usage = Counter(
                prompt_tokens=sum(n * size for n, size in zip(times, lengths, strict=True)),
                completion_tokens=sum(self.length(text) for row in answers for text in row),
            )
        self.spent.update({name: usage[name] for name in USAGE})
        self.spent["requests"] += requests

    def fit(self, limit: int) -> Fit:
        """What requests show of a panel: at most `limit` tokens."""
        return partial(budget.shown, length=self.length, limit=limit)

    def _check(self, ask: Ask) -> None:
        size = frame_length(self, ask) + self.length(ask.begun)
        if self.context is not None and size >= self.context:
            raise UserError(
                f"a request has {size} tokens, but the model's context holds {self.context}: lower panel_tokens, or "
                "give it shorter passages"
            )

    def _prompt(self, name: str, ask: Ask) -> Asked:
        """A request as the sampler takes it; an answer that has begun goes on in this process only."""
        if not ask.begun or not isinstance(self.sampler, Policy):
            return Prompt(name, ask.messages)
        tokenizer = self.sampler.tokenizer
        begun = tokenizer.encode(ask.begun.rstrip(), add_special_tokens=False)
        return TokenPrompt(name, (*chat.render_prompt(tokenizer, ask.messages), *begun))

    @property
    def continues(self) -> bool:
        """Whether an answer can be given its beginning (`Ask.begun`): in this process alone."""
        return isinstance(self.sampler, Policy)

    def kept(
        self,
        asks: Sequence[Ask],
        faults: Callable[[int, str], int],
        *,
        drafts: int,
        temperature: float,
        max_completion_length: int,
        seed: Sequence[Any],
    ) -> list[str]:
        """An answer to each request: of up to `drafts` the one with the fewest `faults(number of the request, text)`.

        The first is drawn at `temperature`. Only where it has a fault others are drawn, at a temperature of 1 at least.
        """
        how: dict[str, Any] = {"max_completion_length": max_completion_length}
        best = [text for (text,) in self.answer(asks, temperature=temperature, seed=seed, **how)]
        faulty = [i for i, text in enumerate(best) if faults(i, text)] if drafts > 1 else []
        again = [replace(asks[i], n=drafts - 1) for i in faulty]
        others = self.answer(again, temperature=max(1.0, temperature), seed=(*seed, "again"), **how)
        for i, texts in zip(faulty, others, strict=True):
            best[i] = min((best[i], *texts), key=partial(faults, i))
        return best

    def _of_form(
        self, form: Form | None, prompts: Sequence[Asked], how: Sampling, seed: Sequence[Any], n: int
    ) -> list[tuple[str, ...]]:
        """Answers kept to a form; a server that refuses a JSON schema is asked without from then on, which is said."""
        grammar = getattr(form, self.constrained) if form is not None and self.constrained else ""
        try:
            answers = self.sampler.answer(prompts, replace(how, grammar=grammar), seed=seed, n=n)
        except Refused as refusal:
            if not grammar:
                raise
            answers = self.sampler.answer(prompts, how, seed=seed, n=n)
            self.constrained = ""
            terminal.say(f"{refusal}; answers are asked for without a JSON schema from here on")
        if self.constrained == "schema" and form:
            return [tuple(map(lines_of, a.texts)) for a in answers]
        return [a.texts for a in answers]


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
