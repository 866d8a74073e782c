"""Which prompts an iteration of RL asks and in which words: in fresh orders, from easy to hard, with small changes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Literal

import numpy as np

from heedful.data.packing import shuffled
from heedful.engine.randomness import key
from heedful.engine.sampler import Sampler
from heedful.engine.sampling import Sampling
from heedful.errors import UserError
from heedful.types import Message, Prompt

Change = Literal["lowercase", "unpunctuated", "typo", "spaces"]


def taken(n: int, wanted: range, seed: int) -> list[int]:
    """The indices at the places `wanted` of endless passes over n things, each pass in a fresh order."""
    orders = {epoch: shuffled(n, seed, epoch) for epoch in {i // n for i in wanted}}
    return [int(orders[i // n][i % n]) for i in wanted]


def open_to(n: int, least: int, iteration: int, curriculum: int) -> int:
    """How many of n prompts, easiest first, an iteration may ask: all after `curriculum` iterations (0: at once)."""
    share = (iteration + 1) / curriculum if iteration < curriculum else 1.0
    return min(n, max(least, math.ceil(n * share)))


def easiest_first(
    prompts: Sequence[Prompt], policy: Sampler, reward: Any, how: Sampling, *, seed: int, n: int
) -> list[Prompt]:
    """Prompts by their column `difficulty`, a number; without it, by the mean score of `n` answers of the policy."""
    given = [p.columns.get("difficulty") for p in prompts]
    if any(d is not None for d in given):
        if not all(isinstance(d, int | float) for d in given):
            raise UserError(
                "some prompts have no number as 'difficulty': give it to all or to none, or leave out curriculum"
            )
        order = np.argsort(np.asarray(given, dtype=np.float64), kind="stable")
    else:
        answered = policy.answer(prompts, how, seed=(seed, "difficulty"), n=n)
        scores = np.asarray(reward.scores(prompts, [a.texts for a in answered])).mean(1)
        order = np.argsort(-scores, kind="stable")
    return [prompts[i] for i in order]


def in_other_words(prompt: Prompt, changes: Sequence[Change], ratio: float, *seed: Any) -> Prompt:
    """The prompt with one of the `changes` made to its last message, or, in 1 - `ratio` of the cases, as it is.

    What is asked stays the same, so rewards go on reading the prompt as it was. The draw depends on `seed` and the
    prompt's id alone.
    """
    rng = Random(key("augment", *seed, prompt.id))
    if not changes or rng.random() >= ratio:
        return prompt
    *before, last = prompt.messages
    text = CHANGES[rng.choice(list(changes))](last.content, rng)
    return replace(prompt, messages=(*before, Message(last.role, text))) if text.strip() else prompt


def lowercase(text: str, rng: Random) -> str:
    """No capital letters."""
    return text.lower()


def unpunctuated(text: str, rng: Random) -> str:
    """No mark at the end."""
    return text.rstrip().rstrip(".!?。！？")


def typo(text: str, rng: Random) -> str:
    """Two neighbouring letters of one word in the wrong order."""
    places = [i for i in range(len(text) - 1) if text[i].isalpha() and text[i + 1].isalpha()]
    if not places:
        return text
    i = rng.choice(places)
    return text[:i] + text[i + 1] + text[i] + text[i + 2 :]


def spaces(text: str, rng: Random) -> str:
    """One space too many."""
    places = [i for i, c in enumerate(text) if c == " "]
    if not places:
        return text
    i = rng.choice(places)
    return text[:i] + " " + text[i:]


CHANGES: Mapping[str, Callable[[str, Random], str]] = {
    "lowercase": lowercase,
    "unpunctuated": unpunctuated,
    "typo": typo,
    "spaces": spaces,
}
