"""The nouns of sampling: what is asked, how tokens are chosen, and what comes back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from heedful.errors import UserError


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt to be answered once per key; the same key gives the same answer whatever else is sampled."""

    prompt: Sequence[int]
    keys: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen; names and meanings are vLLM's and transformers'.

    In order: `repetition_penalty` (tokens of prompt and answer), `frequency_penalty` and `presence_penalty`
    (tokens of the answer) change the logits; they are divided by `temperature` (0 is greedy); `top_k` (0: off),
    `top_p` (1: off) and `min_p` (0: off) each drop tokens from what the one before it left.

    An answer ends with a token of `stop_token_ids`, or with the token after which its text contains a string of
    `stop`: that token is its last id and `finished` is True, and the text ends before the string. Text is what
    decoding without special tokens gives, so a string that spells a special token never matches.

    With a `grammar` (Lark's notation, or a JSON schema) only tokens that the grammar lets follow are drawn, and an
    answer can end only where the grammar lets it; one that is cut at `max_completion_length` may be incomplete.

    `behavior_logp` asks for `Sample.behavior_logp`. `best_of` is how many answers a `Sampler` draws of which it
    returns the n with the highest mean log-prob per token (None: n). With `num_beams` above 1 nothing is drawn:
    beam search as in transformers' `generate`, with its `length_penalty` and `early_stopping`.
    """

    max_completion_length: int = 64
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    grammar: str = ""
    behavior_logp: bool = False
    best_of: int | None = None
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False

    def __post_init__(self) -> None:
        for valid, sentence in (
            (self.max_completion_length >= 1, "max_completion_length must be at least 1"),
            (0 <= self.temperature < math.inf, "temperature must be 0 (greedy) or more"),
            (self.top_k >= 0, "top_k must be 0 (off) or more"),
            (0 < self.top_p <= 1, "top_p must be above 0 and at most 1 (off)"),
            (0 <= self.min_p <= 1, "min_p must lie between 0 (off) and 1"),
            (0 < self.repetition_penalty < math.inf, "repetition_penalty must be above 0; 1 is off"),
            (math.isfinite(self.presence_penalty), "presence_penalty must be a number; 0 is off"),
            (math.isfinite(self.frequency_penalty), "frequency_penalty must be a number; 0 is off"),
            (
                isinstance(self.stop, tuple) and all(self.stop),
                "stop must be a tuple of strings, none of them empty",
            ),
            (self.best_of is None or self.best_of >= 1, "best_of must be at least 1"),
            (self.num_beams >= 1, "num_beams must be at least 1"),
            (math.isfinite(self.length_penalty), "length_penalty must be a number"),
            (
                self.num_beams == 1 or not self._draws(),
                "beam search takes the model's distribution as it is: with num_beams, leave temperature, top_k, top_p, "
                "min_p, the penalties, stop, grammar, behavior_logp and best_of at their defaults",
            ),
        ):
            if not valid:
                raise UserError(sentence)

    @property
    def penalised(self) -> bool:
        """Whether the logits depend on the tokens so far other than through the model."""
        return self.repetition_penalty != 1 or bool(self.presence_penalty or self.frequency_penalty)

    @property
    def truncated(self) -> bool:
        """Whether tokens are dropped from the distribution."""
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0

    def _draws(self) -> bool:
        further = self.behavior_logp or self.best_of is not None or bool(self.stop or self.grammar)
        return self.penalised or self.truncated or self.temperature != 1 or further


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer: ids [n] with the token that ended it where it stopped by itself, and each token's log-prob.

    `logp` is the model's at the temperature (at 0: at 1), before penalties and truncation. `behavior_logp` [n],
    where asked for, is under the distribution that the token was really drawn from (at temperature 0: 0).
    """

    ids: NDArray[np.int64]
    logp: NDArray[np.float32]
    finished: bool
    behavior_logp: NDArray[np.float32] | None = None


def best(samples: Sequence[Sample], n: int) -> list[int]:
    """Which `n` samples have the highest mean log-prob per token, best first."""
    return sorted(range(len(samples)), key=lambda i: -float(samples[i].logp.mean(dtype=np.float64)))[:n]
