"""Judgements to files that trainers read, each with a manifest from which it can be made again, byte for byte."""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Unpack, get_args

from heedful.data import atomic
from heedful.data.rows import messages_row
from heedful.data.store import events as events_
from heedful.data.store import exchange, items, queries
from heedful.data.store.connect import dump_json
from heedful.data.store.convert import pairs
from heedful.data.store.judgements import decode
from heedful.data.store.records import Event, Where
from heedful.data.store.store import Store
from heedful.errors import UserError
from heedful.people.labels import Aggregate, aggregated
from heedful.types import Demonstration, Edit, Message, Preference, Ranking, StepLabels

Format = Literal[
    "preference", "unpaired", "ranked", "stepwise", "demonstrations", "prm800k", "hh", "csv", "heedful"
]

Row = dict[str, Any]
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")
"""A cell of text that begins so would be run as a formula by a spreadsheet."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """How a file was made: the same store, with these settings, gives the same bytes again."""

    format: Format
    rows: int
    judgements: int
    first_event: int
    last_event: int
    as_of: int
    sha256: str
    aggregate: Aggregate
    where: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Found:
    """Judgements with the texts that they are about."""

    events: Sequence[Event]
    messages: Mapping[str, tuple[Message, ...]]
    texts: Mapping[str, str]
    preferences: Sequence[Preference]


def manifest_path(path: Path) -> Path:
    """Where a file's manifest lies."""
    return path.with_name(path.name + ".manifest.json")


def export(
    store: Store,
    path: str | Path,
    format: Format = "preference",
    *,
    aggregate: Aggregate = "none",
    **where: Unpack[Where],
) -> Manifest:
    """Write judgements to `path` and `path`.manifest.json.

    preference, unpaired, ranked and stepwise are TRL's formats (conversational), demonstrations are dialogues to
    fine-tune on, prm800k and hh the records of those data sets, csv a table of all judgements, heedful the lossless
    form. `as_of` rebuilds what an earlier export wrote; `aggregate` gives one label a pair.
    """
    path = Path(path)
    if format not in get_args(Format):
        raise UserError(f"A format is one of {', '.join(get_args(Format))}, not {format!r:.40}.")
    if aggregate not in get_args(Aggregate):
        raise UserError(f"An aggregate is one of {', '.join(get_args(Aggregate))}, not {aggregate!r:.40}.")
    if not path.parent.is_dir():
        raise UserError(
            f"There is no folder {path.parent}: create it, or choose another place for the export."
        )
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a file in it.")
    with store.reading() as connection:
        where = {**where, "as_of": where.get("as_of", events_.last_seq(connection))}
        kept = list(queries.current(connection, None, **where))
        wanted = {event.prompt_id for event in kept}
        messages = {p.id: p.messages for p in items.get_prompts(connection, wanted, None)}
        texts = {a.id: a.text for a in items.get_answers(connection, wanted, None)}
    if format == "heedful":
        told = exchange.export_preferences(store, path, **where)
        rows, digest = told.pairs, told.sha256
    else:
        preferences = aggregated(store, kept, aggregate) if format in ("preference", "unpaired", "hh") else []
        text, rows = _WRITERS[format](_Found(kept, messages, texts, preferences))
        atomic.write_text(path, text)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    span = [event.seq for event in kept]
    manifest = Manifest(
        format,
        rows,
        len(kept),
        min(span, default=0),
        max(span, default=0),
        where["as_of"],
        digest,
        aggregate,
        {name: sorted(value) if name == "annotators" else value for name, value in where.items()},  # type: ignore[call-overload]
    )
    atomic.write_json(manifest_path(path), asdict(manifest))
    return manifest


def _jsonl(rows: Iterable[Row]) -> tuple[str, int]:
    lines = [dump_json(row) + "\n" for row in rows]
    return "".join(lines), len(lines)


def _preference(found: _Found) -> tuple[str, int]:
    return _jsonl(
        {
            "prompt": messages_row(one.messages),
            "chosen": [{"role": "assistant", "content": one.chosen}],
            "rejected": [{"role": "assistant", "content": one.rejected}],
            "strength": one.strength,
            "id": one.id,
            "source": one.source,
        }
        for one in found.preferences
    )


def _unpaired(found: _Found) -> tuple[str, int]:
    """An answer is good if it was preferred more often than not, and bad the other way round."""
    balance: dict[tuple[tuple[Message, ...], str], float] = {}
    for one in found.preferences:
        for text, sign in ((one.chosen, 1), (one.rejected, -1)):
            balance[one.messages, text] = balance.get((one.messages, text), 0) + sign
    return _jsonl(
        {
            "prompt": messages_row(messages),
            "completion": [{"role": "assistant", "content": text}],
            "label": value > 0,
        }
        for (messages, text), value in balance.items()
        if value
    )


def _ranked(found: _Found) -> tuple[str, int]:
    rows = []
    for event in found.events:
        judgement = decode(event)
        if isinstance(judgement, Ranking):
            placed = [(place, name) for place, tier in enumerate(judgement.order, 1) for name in tier]
            rows.append(
                {
                    "prompt": messages_row(found.messages[event.prompt_id]),
                    "completions": [found.texts[name] for _, name in placed],
                    "ranks": [place for place, _ in placed],
                    "pairs": len(list(pairs([judgement]))),
                    "criterion": event.criterion,
                    "id": str(event.id),
                    "source": event.annotator,
                }
            )
    return _jsonl(rows)


def _stepwise(found: _Found) -> tuple[str, int]:
    """TRL's stepwise supervision; a neutral step counts as right (Lightman et al. 2023, section 2.6)."""
    return _jsonl(
        {
            "prompt": found.messages[event.prompt_id][-1].content,
            "completions": list(judgement.steps),
            "labels": [label >= 0 for label in judgement.labels],
        }
        for event, judgement in _steps(found)
    )


def _steps(found: _Found) -> list[tuple[Event, StepLabels]]:
    decoded = [(event, decode(event)) for event in found.events if event.kind == "steps"]
    return [(event, one) for event, one in decoded if isinstance(one, StepLabels)]


def _demonstrations(found: _Found) -> tuple[str, int]:
    rows = []
    for event in found.events:
        judgement = decode(event)
        if isinstance(judgement, Demonstration | Edit):
            turns = [
                *messages_row(found.messages[event.prompt_id]),
                {"role": "assistant", "content": judgement.text},
            ]
            rows.append({"messages": turns, "source": event.annotator})
    return _jsonl(rows)


def _prm800k(found: _Found) -> tuple[str, int]:
    flagged = {e.payload["answer"] for e in found.events if e.kind == "flag"}
    return _jsonl(
        {
            "labeler": event.annotator,
            "timestamp": event.server_ms,
            "generation": event.round,
            "is_quality_control_question": False,
            "is_initial_screening_question": False,
            "question": {
                "problem": found.messages[event.prompt_id][-1].content,
                "ground_truth_answer": None,
                "pre_generated_steps": list(judgement.steps),
            },
            "label": {
                "steps": [
                    _prm_step(judgement, place, judgement.answer_id in flagged)
                    for place in range(len(judgement.steps))
                ],
                "total_time": round(event.seconds * 1000),
                "finish_reason": judgement.finish_reason,
            },
        }
        for event, judgement in _steps(found)
    )


def _prm_step(judgement: StepLabels, place: int, flagged: bool) -> Row:
    """The answer's own step first, then what was offered beside it; what a person wrote stands by itself."""
    others = [other for other in judgement.alternatives if other.step == place]
    offered = [other for other in others if not other.written]
    written = next((other for other in others if other.written), None)
    completions = [
        {"text": judgement.steps[place], "rating": judgement.labels[place], "flagged": flagged},
        *({"text": other.text, "rating": other.rating, "flagged": False} for other in offered),
    ]
    chosen = next((number for number, other in enumerate(offered, 1) if other.chosen), 0)
    human = None if written is None else {"text": written.text, "rating": written.rating, "source": "human"}
    return {
        "completions": completions,
        "human_completion": human,
        "chosen_completion": None if judgement.labels[place] < 0 and not chosen else chosen,
    }


def _hh(found: _Found) -> tuple[str, int]:
    names = {"user": "Human", "assistant": "Assistant", "system": "Human"}

    def transcript(messages: Sequence[Message], answer: str) -> str:
        turns = [f"\n\n{names[m.role]}: {m.content}" for m in messages]
        return "".join(turns) + f"\n\nAssistant: {answer}"

    return _jsonl(
        {"chosen": transcript(one.messages, one.chosen), "rejected": transcript(one.messages, one.rejected)}
        for one in found.preferences
    )


def _csv(found: _Found) -> tuple[str, int]:
    columns = "event seq kind annotator prompt_id prompt criterion round said seconds server_ms"
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns.split())
    for event in found.events:
        messages = found.messages[event.prompt_id]
        prompt = messages[-1].content if messages else ""
        said = json.dumps(dict(event.payload), ensure_ascii=False)
        about = [event.kind, event.annotator, event.prompt_id, prompt, event.criterion]
        cells: list[Any] = [str(event.id), event.seq, *about, event.round, said]
        writer.writerow([harmless(cell) for cell in (*cells, event.seconds, event.server_ms)])
    # A lone surrogate cannot be written as UTF-8.
    return out.getvalue().encode("utf-8", "replace").decode(), len(found.events)


def harmless(cell: str | int | float) -> str | int | float:
    """Text that a spreadsheet would run as a formula gets an apostrophe in front (OWASP, CSV injection)."""
    if isinstance(cell, str) and cell.lstrip(" ").startswith(FORMULA):
        return "'" + cell
    return cell


_WRITERS: dict[str, Callable[[_Found], tuple[str, int]]] = {
    "preference": _preference,
    "unpaired": _unpaired,
    "ranked": _ranked,
    "stepwise": _stepwise,
    "demonstrations": _demonstrations,
    "prm800k": _prm800k,
    "hh": _hh,
    "csv": _csv,
}
