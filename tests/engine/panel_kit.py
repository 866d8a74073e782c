"""A tiny random model that reads panels, and an author whose answers a test writes."""

from collections.abc import Callable, Sequence
from typing import Any

import transformers as hf

import tiny
from heedful.engine.panel_author import Author
from heedful.engine.policy import Policy
from heedful.engine.sampler import Answered, Asked
from heedful.engine.sampling import Sampling
from heedful.engine.tokenizer import train_bpe
from heedful.panels import requests, text
from heedful.panels.exchange import Step
from heedful.types import Prompt
from heedful.world import saga


def steps(stories: int = 2, passages: int = 3, split: Any = "train", lang: Any = "en") -> list[Step]:
    """Steps of the world's stories."""
    return [
        Step(f"s{n}", i, p.text, p.before, p.after, source="world")
        for n in range(stories)
        for i, p in enumerate(saga.saga(lang, 0, n, passages, split))
    ]


STEPS = steps()
TOKENIZER = train_bpe([t for s in STEPS for t in (s.passage, text.render(s.after))] * 2, 420)


def policy(seed: int = 0) -> Policy:
    """A random model of the panels' tokenizer."""
    config = hf.LlamaConfig(**{**tiny._COMMON, "vocab_size": len(TOKENIZER), "max_position_embeddings": 2048})
    return Policy(tiny.model(config, seed=seed), TOKENIZER)


class Scripted:
    """A sampler that answers by a function of the prompt, the seed and the answer's number."""

    def __init__(self, reply: Callable[[Prompt, Sequence[Any], int], str]) -> None:
        self.reply, self.asked = reply, list[Prompt]()

    def answer(
        self, prompts: Sequence[Asked], how: Sampling, *, seed: Sequence[Any], n: int = 1, slots: int = 64
    ) -> list[Answered]:
        """Texts alone."""
        asked = [p for p in prompts if isinstance(p, Prompt)]
        self.asked += asked
        return [Answered((), (), tuple(self.reply(p, seed, j) for j in range(n))) for p in asked]


def author(reply: Callable[[Prompt, Sequence[Any], int], str]) -> Author:
    """An author around a script; a word is a token."""
    return Author(Scripted(reply), lambda t: len(t.split()), None, explained=False, constrained="")


def knows(found: Sequence[Step]) -> Callable[[Prompt, Sequence[Any], int], str]:
    """A reply that answers every request about these steps with the truth."""
    by_passage = {s.passage: s for s in found}

    def reply(prompt: Prompt, seed: Sequence[Any], number: int) -> str:
        messages = prompt.messages
        if len(messages) > 1:
            step = by_passage[messages[-2].content]
            return requests.patch_of(step.before, step.after)
        return next(s.passage for s in found if requests.write(s.before) == messages)

    return reply
