"""Judgements from files: our own exports, TRL's and HH-RLHF's preferences, PRM800K, Argilla, Label Studio."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from heedful.data import formats, jsontext
from heedful.data.files import read_rows
from heedful.data.store import exchange
from heedful.data.store.judgements import event_id
from heedful.data.store.records import Annotator
from heedful.data.store.store import Store
from heedful.errors import UserError
from heedful.people import foreign
from heedful.people.foreign import Item, answer_of, prompt_of
from heedful.types import Comparison, Demonstration, FinishReason, Message, StepAlternative, StepLabels

Source = Literal["heedful", "preference", "demonstrations", "prm800k", "argilla", "label_studio"]


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import brought: new events, and the rows that held nothing to take, by reason."""

    events: int
    prompts: int
    answers: int
    skipped: Mapping[str, int] = field(default_factory=dict)


Reader = Callable[[Path, str, Counter[str]], Iterator[Item]]
"""Reads a file's items; the second argument is the annotator of rows that name none."""


def import_file(
    store: Store, path: str | Path, format: Source, *, annotator: str = "", round: int = 0, policy: str = ""
) -> Imported:
    """Add what a file holds; the same file again adds nothing.

    heedful is what `export` writes in that format; preference takes every form that `read_preferences` takes
    (TRL, HH-RLHF, UltraFeedback); argilla and label_studio are these tools' JSON exports. `annotator` names who
    judged where the file does not; `policy` who wrote the answers.
    """
    path = Path(path)
    if format not in get_args(Source):
        raise UserError(f"A source is one of {', '.join(get_args(Source))}, not {format!r:.40}.")
    if not path.is_file():
        raise UserError(f"There is no file {path}: check the path.")
    if format == "heedful":
        before = store.counts()
        new = exchange.import_preferences(store, path)
        after = store.counts()
        return Imported(new, after["prompts"] - before["prompts"], after["answers"] - before["answers"])
    skipped: Counter[str] = Counter()
    items = _READERS[format](path, annotator or path.stem[:100], skipped)
    return _add(store, items, format, round, policy, skipped)


def _add(
    store: Store, items: Iterable[Item], format: str, round_: int, policy: str, skipped: Counter[str]
) -> Imported:
    """One transaction a thousand items; an event's id follows from what it says, so that a replay adds nothing."""
    before = store.counts()
    chunk: list[Item] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == 1000:
            _flush(store, chunk, format, round_, policy)
            chunk = []
    _flush(store, chunk, format, round_, policy)
    after = store.counts()
    events, prompts, answers = (after[name] - before[name] for name in ("events", "prompts", "answers"))
    return Imported(events, prompts, answers, dict(skipped))


def _flush(store: Store, items: Sequence[Item], format: str, round_: int, policy: str) -> None:
    judged = [one for item in items for one in item.judgements]
    if not items:
        return
    store.add_prompts((item.prompt for item in items), round=round_)
    answers = (replace(answer, policy=answer.policy or policy) for item in items for answer in item.answers)
    store.add_answers(answers, round=round_, sampling={"imported_from": format})
    store.add_annotators({one.annotator: Annotator(one.annotator) for one in judged}.values())
    uuids = [event_id("import", format, round_, type(one).__name__, repr(one)) for one in judged]
    store.submit_many(judged, uuids=uuids, complete=False)


def _preferences(path: Path, annotator: str, skipped: Counter[str]) -> Iterator[Item]:
    for one in formats.read_preferences(path, skipped=skipped):
        prompt = prompt_of(one.messages)
        first, second = answer_of(prompt, one.chosen), answer_of(prompt, one.rejected)
        if first.id == second.id:
            skipped["twice the same answer"] += 1
            continue
        strength = min(3, max(1, round(one.strength)))
        who = one.source or annotator
        compared = Comparison(prompt.id, first.id, second.id, who, strength)
        yield Item(prompt, (first, second), (compared,))


def _demonstrations(path: Path, annotator: str, skipped: Counter[str]) -> Iterator[Item]:
    for one in formats.read_conversations(path, skipped=skipped):
        *asked, answer = one.messages
        if not asked or answer.role != "assistant":
            skipped["no answer at the end"] += 1
            continue
        prompt = prompt_of(asked)
        yield Item(prompt, (), (Demonstration(prompt.id, one.source or annotator, answer.content),))


def _prm800k(path: Path, annotator: str, skipped: Counter[str]) -> Iterator[Item]:
    """Each step's chosen or only completion is the answer's; the others and the person's are alternatives."""
    for row in read_rows(path):
        try:
            item = _prm_item(row.data, annotator)
        except (KeyError, TypeError, IndexError, AttributeError) as trouble:
            raise UserError(f"{row.where} is not a record of PRM800K ({trouble!r:.80}).") from None
        if isinstance(item, str):
            skipped[item] += 1
        else:
            yield item


def _prm_item(record: Mapping[str, Any], annotator: str) -> Item | str:
    texts: list[str] = []
    labels: list[int] = []
    others: list[StepAlternative] = []
    for place, step in enumerate(record["label"]["steps"]):
        completions = step["completions"] or []
        rated = [one for one in completions if one.get("rating") is not None]
        if not rated:
            break
        chosen = step.get("chosen_completion")
        # The first completion is the answer's own; it was taken unless another was.
        own = completions[0] if completions[0].get("rating") is not None else rated[0]
        texts.append(own["text"])
        labels.append(int(own["rating"]))
        others += [
            StepAlternative(place, one["text"], one.get("rating"), chosen=chosen == number)
            for number, one in enumerate(completions)
            if one is not own and one["text"].strip()
        ]
        human = step.get("human_completion")
        if human and human["text"].strip():
            others.append(
                StepAlternative(place, human["text"], human.get("rating"), written=True, chosen=True)
            )
        if labels[-1] == -1:
            break
    reason = record["label"]["finish_reason"]
    if not labels:
        return "no step was rated"
    # The record goes on after an error with another step; a solution's labels stop there.
    reason = "found_error" if labels[-1] == -1 else "give_up" if reason == "found_error" else reason
    prompt = prompt_of((Message("user", record["question"]["problem"]),))
    whole = record["question"].get("pre_generated_steps") or texts
    answer = answer_of(prompt, "\n".join(whole))
    who = str(record.get("labeler") or annotator)
    seconds = max(0, record["label"].get("total_time") or 0) / 1000
    told = StepLabels(
        prompt.id,
        answer.id,
        who,
        tuple(texts),
        tuple(labels),
        cast(FinishReason, reason),
        tuple(others),
        seconds,
    )
    return Item(prompt, (answer,), (told,))


def _foreign(read: Callable[[Mapping[str, Any], str], Item | str]) -> Reader:
    def whole(path: Path, annotator: str, skipped: Counter[str]) -> Iterator[Item]:
        for line, record in jsontext.json_objects(path):
            try:
                item = read(record, annotator)
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as trouble:
                raise UserError(f"{path}, line {line} cannot be read ({trouble!r:.80}).") from None
            if isinstance(item, str):
                skipped[item] += 1
            else:
                yield item

    return whole


_READERS: dict[str, Reader] = {
    "preference": _preferences,
    "demonstrations": _demonstrations,
    "prm800k": _prm800k,
    "argilla": _foreign(foreign.argilla),
    "label_studio": _foreign(foreign.label_studio),
}
