"""What writes answers, wherever it runs: this process (`Policy`), vLLM, or a server."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from heedful.data import chat
from heedful.data.template import ChatTokenizer
from heedful.engine.randomness import key
from heedful.engine.sampling import Sample, Sampling, best
from heedful.engine.stops import cut
from heedful.errors import UserError
from heedful.types import Prompt

# A byte-level model may write any byte: files and databases refuse NUL, terminals obey escapes.
_CONTROL = {c: None for c in range(32) if chr(c) not in "\n\t"} | {127: None}


@dataclass(frozen=True)
class TokenPrompt:
    """A prompt that is given as token ids instead of messages."""

    id: str
    ids: tuple[int, ...]


Asked = Prompt | TokenPrompt


@dataclass(frozen=True)
class Answered:
    """A prompt's tokens, the samples drawn for it and their texts.

    From a server that was not asked for tokens, the prompt's ids and the samples' ids and log-probs are empty.
    """

    prompt: tuple[int, ...]
    samples: tuple[Sample, ...]
    texts: tuple[str, ...]


class Sampler(Protocol):
    """Anything that answers prompts."""

    def answer(
        self, prompts: Sequence[Asked], how: Sampling, *, seed: Sequence[Any], n: int = 1, slots: int = 64
    ) -> list[Answered]:
        """Give `n` answers a prompt (of `how.best_of` the best); `slots` prompts are in work at once.

        The random numbers depend on `seed`, the prompt's id and the answer's number.
        """
        ...


def prompt_ids(tokenizer: ChatTokenizer, prompt: Asked) -> tuple[int, ...]:
    """The tokens that an answer to the prompt continues."""
    if isinstance(prompt, TokenPrompt):
        return prompt.ids
    return chat.render_prompt(tokenizer, prompt.messages)


def keys(prompt: Asked, how: Sampling, seed: Sequence[Any], n: int) -> tuple[int, ...]:
    """A key for every answer to draw: `n`, or `how.best_of` to choose the n best from."""
    drawn = n if how.best_of is None else how.best_of
    if drawn < n:
        raise UserError(f"best_of={drawn} draws fewer answers than the {n} that are asked for: raise best_of")
    return tuple(key(*seed, prompt.id, j) for j in range(drawn))


def shown(text: str, how: Sampling) -> str:
    """An answer's text as people and judges read it: up to the stop string, without control characters."""
    return cleaned(cut(text, how.stop)).strip()


def cleaned(text: str) -> str:
    """A text without control characters."""
    return text.translate(_CONTROL)


def answered(prompt: tuple[int, ...], drawn: Sequence[tuple[Sample, str]], how: Sampling, n: int) -> Answered:
    """The answers to keep of those drawn, with their texts."""
    samples = [s for s, _ in drawn]
    kept = range(n) if how.best_of is None else best(samples, n)
    texts = tuple(shown(drawn[i][1], how) for i in kept)
    return Answered(prompt, tuple(samples[i] for i in kept), texts)


def check_foreign(how: Sampling, where: str) -> None:
    """Refuse what engines other than ours do not do, or do not tell."""
    if how.num_beams > 1 or how.behavior_logp:
        raise UserError(f"{where} has no beam search and no behavior_logp: sample in this process instead")
    if how.best_of is not None and not tells_logp(how):
        raise UserError(f"{where} tells log-probs at temperature 0 or 1 only: best_of needs one of these")


def tells_logp(how: Sampling) -> bool:
    """Whether another engine's log-probs, which are the model's at temperature 1, are ours too."""
    return how.temperature in (0, 1)
