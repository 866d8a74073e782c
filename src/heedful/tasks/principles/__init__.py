"""What a judge of answers looks at, as a file in plain language: ours in English and Chinese, or the user's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from heedful.errors import UserError, nearest
from heedful.types import Conversation, Message, Preference

_TEXTS = {
    "compare": ("conversation", "first", "second"),
    "reason": ("conversation", "first", "second"),
    "conclude": (),
    "critique": ("conversation", "answer"),
    "revise": ("conversation", "answer", "critique"),
}


@dataclass(frozen=True)
class Principle:
    """One thing to look at: how two answers are compared by it, and how one is criticised."""

    name: str
    compare: str
    critique: str = ""


@dataclass(frozen=True)
class Principles:
    """The words that a judge is asked with. `choices` are its two replies: the first answer, the second.

    `reason` asks what speaks for each, and `conclude`, after the reply, for the choice.
    """

    choices: tuple[str, str]
    compare: str
    critique: str
    revise: str
    principles: tuple[Principle, ...]
    reason: str = ""
    conclude: str = ""

    def comparison(
        self, messages: Sequence[Message], first: str, second: str, principle: Principle
    ) -> tuple[Message, ...]:
        """The question which of two answers is better."""
        return _asked(self.compare, messages, first=first, second=second, principle=principle.compare)

    def reasons(
        self, messages: Sequence[Message], first: str, second: str, principle: Principle
    ) -> tuple[Message, ...]:
        """The request to say what speaks for each of two answers."""
        return _asked(self.reason, messages, first=first, second=second, principle=principle.compare)

    def conclusion(self, question: Sequence[Message], said: str) -> tuple[Message, ...]:
        """The question which is better, after what was `said` for each."""
        return (*question, Message("assistant", said or "..."), Message("user", self.conclude))

    def criticism(
        self, messages: Sequence[Message], answer: str, principle: Principle
    ) -> tuple[Message, ...]:
        """The request to say what is wrong with an answer."""
        return _asked(self.critique, messages, answer=answer, principle=principle.critique)

    def revision(self, messages: Sequence[Message], answer: str, critique: str) -> tuple[Message, ...]:
        """The request to write an answer anew."""
        return _asked(self.revise, messages, answer=answer, critique=critique)

    def lessons(self, preferences: Sequence[Preference]) -> list[Conversation]:
        """People's choices as questions with their right reply, from which a model learns to judge.

        The chosen answer stands first and second in turn, and the principles take turns.
        """
        found = []
        for number, p in enumerate(preferences):
            first, second = (p.chosen, p.rejected) if number % 2 == 0 else (p.rejected, p.chosen)
            principle = self.principles[(number // 2) % len(self.principles)]
            question = self.comparison(p.messages, first, second, principle)
            reply = Message("assistant", self.choices[number % 2])
            found.append(Conversation((*question, reply), source="judge"))
        return found


def _asked(template: str, messages: Sequence[Message], **values: str) -> tuple[Message, ...]:
    """A template with its blanks filled in at once, so that what fills one is never read as another."""
    shown = "\n".join(m.content if len(messages) == 1 else f"{m.role}: {m.content}" for m in messages)
    parts: list[str] = []
    rest = template
    blanks = {f"{{{name}}}": value for name, value in {"conversation": shown, **values}.items()}
    while rest:
        at, blank = min(((rest.find(b), b) for b in blanks if b in rest), default=(len(rest), ""))
        parts += [rest[:at], blanks.get(blank, "")]
        rest = rest[at + len(blank) :]
    return (Message("user", "".join(parts)),)


def read(path: str | Path | None, lang: str = "en") -> Principles:
    """The principles in a file, or our own in a language."""
    place = Path(path) if path is not None else Path(__file__).with_name(f"{lang}.yaml")
    try:
        values = yaml.safe_load(place.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"the principles '{place}' cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"'{place}' is not valid YAML: write key: value, one a line") from error
    return _checked(values, place)


def _checked(values: Any, place: Path) -> Principles:
    if not isinstance(values, dict):
        raise UserError(f"'{place}' must hold key: value lines: choices, compare, principles")
    known = {"choices", "principles", *_TEXTS}
    for name in values:
        if name not in known:
            raise UserError(f"'{place}' has no use for '{name}'.{nearest(str(name), known)}")
    choices = values.get("choices", ["A", "B"])
    if not (
        isinstance(choices, list)
        and len(choices) == 2
        and choices[0] != choices[1]
        and all(map(_text, choices))
    ):
        raise UserError(f"'{place}': choices must be two different words, such as [A, B]")
    texts = {name: values.get(name, "") for name in _TEXTS}
    for name, blanks in _TEXTS.items():
        if not isinstance(texts[name], str):
            raise UserError(f"'{place}': {name} must be text")
        missing = [b for b in blanks if f"{{{b}}}" not in texts[name]]
        if missing and (texts[name] or name == "compare"):
            raise UserError(f"'{place}': {name} must hold {{{missing[0]}}}, where it is filled in")
    rows = values.get("principles") or []
    if (
        not isinstance(rows, list)
        or not rows
        or not all(isinstance(r, dict) and _text(r.get("compare")) for r in rows)
    ):
        raise UserError(f"'{place}': principles must be a list, each with a name and what to compare")
    found = tuple(
        Principle(str(r.get("name", number)), r["compare"], str(r.get("critique", "")))
        for number, r in enumerate(rows, 1)
    )
    if bool(texts["reason"]) != bool(texts["conclude"]):
        raise UserError(f"'{place}': reason and conclude go together: give both or neither")
    return Principles((choices[0], choices[1]), principles=found, **texts)


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
