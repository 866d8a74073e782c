"""Records of other labelling tools as judgements: Argilla's and Label Studio's JSON exports."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from heedful.data.messages import as_messages, content_id, prompt_id
from heedful.data.store.records import Judgement
from heedful.types import Answer, Comment, Comparison, Message, Prompt, Ranking, Rating


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt, answers to it, and what was said of them."""

    prompt: Prompt
    answers: tuple[Answer, ...]
    judgements: tuple[Judgement, ...]


PROMPTS = ("prompt", "instruction", "question", "input", "query", "context")
"""Names of the field that holds the prompt."""

_ANSWER = re.compile(
    r"(?:response|answer|completion|generation|output|text|chosen|rejected)[\W_]*(\d+|[a-z])?$"
)
_TIES = {"tie", "equal", "same", "both", "neither", "about the same", "none"}


def prompt_of(messages: Sequence[Message]) -> Prompt:
    """The prompt of a dialogue, named by its content."""
    return Prompt(prompt_id(tuple(messages)), tuple(messages))


def answer_of(prompt: Prompt, text: str, policy: str = "") -> Answer:
    """An answer, named by its content and its prompt's."""
    return Answer(content_id(prompt.id, text), prompt.id, text, policy)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a record shows: the prompt, and its answers by the names of their fields, in order."""

    prompt: Prompt
    answers: dict[str, Answer]

    def named(self, value: object) -> Answer | None:
        """The answer that a label such as "response-2", "2", "B" or "right" means."""
        word = str(value).strip().lower()
        names = list(self.answers)
        lowered = {name.lower(): name for name in names}
        if word in lowered:
            return self.answers[lowered[word]]
        sides = {"left": 0, "right": 1, "first": 0, "second": 1}
        found = _ANSWER.fullmatch(word)
        mark = found[1] if found and found[1] else word
        place = sides.get(mark)
        if place is None and mark.isdigit():
            # Whether fields count from 0 is told by their own names.
            place = int(mark) - (0 if any(re.search(r"\D0$", name) for name in names) else 1)
        elif place is None and len(mark) == 1 and "a" <= mark <= "z":
            place = ord(mark) - ord("a")
        return self.answers[names[place]] if place is not None and 0 <= place < len(names) else None


def _shown(fields: Mapping[str, Any]) -> _Shown | None:
    key = next((name for name in PROMPTS if name in fields), None)
    if key is None:
        return None
    value = fields[key]
    messages = as_messages(value, "the prompt") if isinstance(value, list) else (Message("user", str(value)),)
    prompt = prompt_of(messages)
    texts = {
        name: text
        for name, text in fields.items()
        if name != key and isinstance(text, str) and text and _ANSWER.fullmatch(name.lower())
    }
    return _Shown(prompt, {name: answer_of(prompt, text) for name, text in texts.items()})


def argilla(record: Mapping[str, Any], annotator: str) -> Item | str:
    """A record of Argilla 2's export: `fields`, and `responses` by question, each with its user.

    A number rates the only answer, or the one that the question's name ends with; a list of ranks is a ranking;
    a label that names an answer, or says that they are even, is a comparison of two; text is a comment.
    """
    shown = _shown(record["fields"])
    if shown is None:
        return "no prompt among the fields"
    judgements: list[Judgement] = []
    for question, answers in (record.get("responses") or {}).items():
        for response in answers or ():
            if response.get("status", "submitted") != "submitted":
                continue
            who = str(response.get("user_id") or annotator)
            judgements += _said(shown, question, response["value"], who)
    return _item(shown, judgements)


def label_studio(record: Mapping[str, Any], annotator: str) -> Item | str:
    """A task of Label Studio's JSON export: `data`, and `annotations`, each with a `result`.

    pairwise is a comparison, ranker a ranking, rating and choices as in Argilla, textarea a comment; cancelled
    annotations are left out.
    """
    shown = _shown(record["data"])
    if shown is None:
        return "no prompt in the data"
    judgements: list[Judgement] = []
    for annotation in record.get("annotations") or ():
        if annotation.get("was_cancelled"):
            continue
        by = annotation.get("completed_by")
        name = by.get("email") or by.get("id") if isinstance(by, Mapping) else by
        who = f"label studio {name}" if isinstance(name, int) else str(name or annotator)
        seconds = float(annotation.get("lead_time") or 0.0)
        found: list[Judgement] = []
        for result in annotation.get("result") or ():
            read = _VALUES.get(result.get("type", ""))
            value = None if read is None else read(result["value"])
            if value is not None:
                found += _said(
                    shown, str(result.get("from_name", "overall")), value, who, 0.0 if found else seconds
                )
        judgements += found
    return _item(shown, judgements)


def _ranked(value: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    ranks = value.get("ranker")
    names = ranks.get("rank") if isinstance(ranks, Mapping) else ranks
    if not isinstance(names, list):
        return None
    return [{"rank": place, "value": name} for place, name in enumerate(names, 1)]


_VALUES: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "pairwise": lambda value: value.get("selected"),
    "rating": lambda value: value.get("rating"),
    "choices": lambda value: value["choices"][0] if value.get("choices") else None,
    "textarea": lambda value: "\n".join(value["text"]) if isinstance(value["text"], list) else value["text"],
    "ranker": _ranked,
}


def _item(shown: _Shown, judgements: list[Judgement]) -> Item | str:
    if not judgements:
        return "nothing was said of any answer"
    return Item(shown.prompt, tuple({a.id: a for a in shown.answers.values()}.values()), tuple(judgements))


def _said(shown: _Shown, question: str, value: Any, who: str, seconds: float = 0.0) -> list[Judgement]:
    prompt, answers = shown.prompt.id, list(shown.answers.values())
    criterion = question[:100] or "overall"
    if isinstance(value, list):
        return _ranking(shown, value, who, criterion, seconds)
    if isinstance(value, int | float) and not isinstance(value, bool):
        rated = answers[0] if len(answers) == 1 else shown.named(question.rsplit("_", 1)[-1])
        whole = round(value)
        if rated is None or not 1 <= whole <= 7:
            return []
        return [Rating(prompt, rated.id, who, whole, criterion, seconds)]
    if len(answers) == 2 and answers[0].id != answers[1].id:
        chosen = shown.named(value)
        if chosen is not None or str(value).strip().lower() in _TIES:
            preference = 0 if chosen is None else 1 if chosen is answers[0] else -1
            return [Comparison(prompt, answers[0].id, answers[1].id, who, preference, criterion, seconds)]
    return [Comment(prompt, who, value, seconds=seconds)] if isinstance(value, str) and value.strip() else []


def _ranking(shown: _Shown, value: list[Any], who: str, criterion: str, seconds: float) -> list[Judgement]:
    tiers: dict[int, list[str]] = {}
    for one in value:
        if not isinstance(one, Mapping) or one.get("rank") is None:
            return []
        answer = shown.named(one["value"])
        if answer is None or any(answer.id in tier for tier in tiers.values()):
            return []
        tiers.setdefault(int(one["rank"]), []).append(answer.id)
    order = tuple(tuple(tiers[rank]) for rank in sorted(tiers))
    if sum(map(len, order)) < 2:
        return []
    return [Ranking(shown.prompt.id, who, order, criterion, seconds)]
