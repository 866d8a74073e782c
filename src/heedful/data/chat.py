"""The only renderer of dialogues: messages -> tokens, for training and for sampling alike.

Law: render([*messages, answer]) = render_prompt(messages) + answer_ids(answer), and answer_ids ends with EOS.
Each stretch between answers is tokenized by itself, and so is each answer, so a prompt has the same tokens
whether it is sampled from or trained on.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from heedful.data.template import ChatTokenizer, ensure_chat_template, frame
from heedful.errors import UserError
from heedful.types import Message, Role

__all__ = [
    "Rendered",
    "TooLong",
    "answer_ids",
    "ensure_chat_template",
    "pieces",
    "render",
    "render_prompt",
    "stop_ids",
    "text_ids",
]


@dataclass(frozen=True, slots=True)
class Rendered:
    """Tokens of a dialogue; `mask` marks those to train on: the answers' and the EOS after each."""

    ids: tuple[int, ...]
    mask: tuple[bool, ...]


class TooLong(UserError):
    """A dialogue longer than `max_length`: callers leave it out and count it, for a cut answer misleads."""

    def __init__(self, length: int, max_length: int) -> None:
        super().__init__(
            f"A dialogue has {length} tokens, more than max_length={max_length}; raise max_length."
        )


def render(
    tokenizer: ChatTokenizer, messages: Sequence[Message], *, max_length: int | None = None
) -> Rendered:
    """All turns up to the last answer as one row; what follows that answer teaches nothing."""
    last = max((n for n, message in enumerate(messages) if message.role == "assistant"), default=None)
    if last is None:
        raise UserError("The dialogue has no assistant message, so there is nothing to train on.")
    _check_turns(messages)
    ids: list[int] = []
    mask: list[bool] = []
    for part, trained in _stretches(tokenizer, messages[: last + 1]):
        ids += part
        mask += [trained] * len(part)
    if max_length is not None and len(ids) > max_length:
        raise TooLong(len(ids), max_length)
    return Rendered(tuple(ids), tuple(mask))


def render_prompt(
    tokenizer: ChatTokenizer, messages: Sequence[Message], template: str | None = None
) -> tuple[int, ...]:
    """The tokens of a dialogue that ends with the user's turn, up to where the answer begins.

    `template` stands in for the tokenizer's own chat template.
    """
    if not messages or messages[-1].role != "user":
        raise UserError("A prompt must end with a user message.")
    _check_turns(messages)
    *parts, _ = _stretches(tokenizer, [*messages, Message("assistant", "")], template)
    return tuple(token for part, _ in parts for token in part)


def answer_ids(tokenizer: ChatTokenizer, text: str) -> tuple[int, ...]:
    """The tokens of an answer and its EOS."""
    return (*_encode(tokenizer, text, literal=_spells_special(tokenizer, text)), _eos(tokenizer))


def text_ids(tokenizer: ChatTokenizer, text: str) -> tuple[int, ...]:
    """The tokens of text of ours, such as what a template writes: special tokens that it spells are meant."""
    return tuple(_encode(tokenizer, text, literal=False))


def stop_ids(tokenizer: ChatTokenizer, model: Any = None) -> tuple[int, ...]:
    """The tokens that end an answer: the tokenizer's EOS, and those of the model's generation config."""
    own = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    further = own if isinstance(own, list | tuple) else [] if own is None else [own]
    return tuple(dict.fromkeys([_eos(tokenizer), *map(int, further)]))


def pieces(tokenizer: ChatTokenizer, rendered: Rendered) -> list[tuple[str, bool]]:
    """The text of each token and whether it is trained on; tokens that share a character stand as one."""
    found: list[tuple[str, bool]] = []
    before, group = "", list[int]()
    previous: list[int] = []
    for n, (token, trained) in enumerate(zip(rendered.ids, rendered.mask, strict=True)):
        group.append(token)
        text = _decode(tokenizer, previous + group)[len(before) :]
        last = n + 1 == len(rendered.ids) or rendered.mask[n + 1] != trained
        # No character has more than four bytes: a group of four that is still broken is broken for good.
        if text.endswith("\ufffd") and len(group) < 4 and not last:
            continue
        found.append((text, trained))
        previous, group = group, []
        before = _decode(tokenizer, previous)
    return found


def _stretches(
    tokenizer: ChatTokenizer, messages: Sequence[Message], template: str | None = None
) -> Iterator[tuple[Sequence[int], bool]]:
    """Context, answer, context, answer ...: their tokens, and whether they are trained on."""
    _eos(tokenizer)
    around = frame(tokenizer, tuple(message.role for message in messages), template)
    begin: Sequence[int] = around.begin
    context: list[str] = []  # template text and contents in turn
    for before, message in zip(around.before, messages, strict=True):
        context += [before, message.content]
        if message.role == "assistant":
            yield [*begin, *_encode_context(tokenizer, context[:-1])], False
            yield answer_ids(tokenizer, message.content), True
            begin, context = (), []


def _encode_context(tokenizer: ChatTokenizer, parts: list[str]) -> list[int]:
    if not any(_spells_special(tokenizer, content) for content in parts[1::2]):
        return _encode(tokenizer, "".join(parts), literal=False)
    return [token for n, part in enumerate(parts) for token in _encode(tokenizer, part, literal=n % 2 == 1)]


def _encode(tokenizer: ChatTokenizer, text: str, *, literal: bool) -> list[int]:
    """`literal`: special tokens that the text spells are text."""
    if not text:
        return []
    return list(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=literal, verbose=False))


def _spells_special(tokenizer: ChatTokenizer, text: str) -> bool:
    return _special(tokenizer, len(tokenizer)).search(text) is not None


@lru_cache(maxsize=64)
def _special(tokenizer: ChatTokenizer, size: int) -> re.Pattern[str]:
    """`size` is the vocabulary's: a token added later makes another pattern."""
    names = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    return re.compile("|".join(map(re.escape, names)) or r"(?!)")


def _decode(tokenizer: ChatTokenizer, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _eos(tokenizer: ChatTokenizer) -> int:
    if tokenizer.eos_token_id is None:
        raise UserError(
            "The tokenizer has no EOS token, so no answer could end; set eos_token in tokenizer_config.json."
        )
    return int(tokenizer.eos_token_id)


def _check_turns(messages: Sequence[Message]) -> None:
    expected: tuple[Role, ...] = ("system", "user")
    for n, message in enumerate(messages, 1):
        if message.role not in expected:
            raise UserError(
                f"Message {n} of the dialogue has the role '{message.role}' where {' or '.join(expected)} is "
                "expected: after an optional system message, user and assistant take turns."
            )
        expected = ("assistant",) if message.role == "user" else ("user",)
