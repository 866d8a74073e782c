"""Preferences to files that any trainer reads, and back to the judgements that they came from.

`NAME.jsonl` holds one line for every pair of answers that someone told apart: `prompt`, `chosen`, `rejected`
as messages (TRL's conversational preference format), and columns that name the judgement. What a pair cannot
say stands in `NAME.context.jsonl`: ties, ratings, skips, flags, annotators, and how prompts and answers came
to be, under a header with the hash of the first file. Together they restore the current judgements.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Unpack
from uuid import UUID

from sqlalchemy import Connection, select

from heedful.data.store import events, items, schema
from heedful.data.store.connect import dump_json
from heedful.data.store.convert import told
from heedful.data.store.judgements import decode, draft
from heedful.data.store.queries import current
from heedful.data.store.records import Annotator, Event, Where
from heedful.data.store.store import Store
from heedful.errors import UserError
from heedful.types import Comparison, PanelComparison

FORMAT = 1

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote: lines in the pair file, judgements in both files, events behind them, hash."""

    pairs: int
    judgements: int
    last_event: int
    sha256: str


def context_path(path: Path) -> Path:
    """Return where the file beside a pair file lies."""
    return path.with_suffix(".context" + path.suffix)


def export_preferences(store: Store, path: str | Path, **where: Unpack[Where]) -> Exported:
    """Write the current judgements to `path` and its context file; the same store gives the same bytes."""
    path = Path(path)
    if not path.parent.is_dir():
        raise UserError(
            f"There is no folder {path.parent}: create it, or choose another place for the export."
        )
    with store.reading() as connection:
        kept = list(current(connection, None, **where))
        prompts, answers = _judged(connection, kept)
        last = events.last_seq(connection)
        names = {event.annotator for event in kept}
        annotators = [one for one in items.get_annotators(connection) if one.name in names]
    lines: list[Record] = []
    rest: list[Record] = []
    for event in kept:
        found = _pair_lines(event, prompts, answers)
        lines.extend(found)
        if not found:
            rest.append({"record": "judgement", **_event_columns(event), "payload": dict(event.payload)})
    digest = _write(path, lines)
    header = {
        "record": "export",
        "format": FORMAT,
        "pairs": len(lines),
        "judgements": len(kept),
        "last_event": last,
        "sha256": digest,
    }
    context = [header, *({"record": "annotator", **asdict(one)} for one in annotators)]
    for record, rows in (("prompt", prompts), ("answer", answers)):
        context.extend(
            {"record": record} | {k: v for k, v in row.items() if k != "seq"} for row in rows.values()
        )
    _write(context_path(path), context + rest)
    return Exported(len(lines), len(kept), last, digest)


def import_preferences(store: Store, path: str | Path) -> int:
    """Add what `export_preferences` wrote, and return how many events are new; a second time adds nothing."""
    path = Path(path)
    beside = context_path(path)
    context: dict[str, list[Record]] = defaultdict(list)
    for record in _read(beside):
        context[_field(record, "record", beside)].append(record)
    lines = list(_read(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if [header.get("format") for header in context["export"]] != [FORMAT]:
        raise UserError(f"{beside} is not the context of an export of this version: export again.")
    if context["export"][0].get("sha256") != digest:
        raise UserError(f"{path} was changed after its export: import the file as it was written.")
    try:
        return _restore(store, context, lines)
    except (KeyError, TypeError, ValueError) as trouble:
        raise UserError(f"{beside} does not fit together ({trouble!r}): export again.") from trouble


def _restore(store: Store, context: dict[str, list[Record]], lines: list[Record]) -> int:
    found = {line["event"]: line for line in lines}
    judged = [_from_pair(line) for line in found.values()] + context["judgement"]
    judged.sort(key=lambda record: record["seq"])
    submissions = [
        (event.id, draft(decode(event)), event.client_ms)
        for event in (_as_event(record) for record in judged)
    ]
    with store.writing() as connection:
        items.put_annotators(connection, [Annotator(**_without_record(one)) for one in context["annotator"]])
        for round_, rows in groupby(context["prompt"], itemgetter("round")):
            items.put_prompts(connection, map(items.as_prompt, rows), round_)
        for (round_, sampling), rows in groupby(context["answer"], itemgetter("round", "sampling")):
            items.put_answers(connection, map(items.as_answer, rows), round_, sampling)
        before = events.last_seq(connection)
        # A ranking was complete when it was made; answers may have come to its prompt since.
        events.append(
            connection, submissions, complete=False, server_ms=[record["server_ms"] for record in judged]
        )
        return events.last_seq(connection) - before


def _judged(connection: Connection, kept: list[Event]) -> tuple[dict[str, Record], dict[str, Record]]:
    wanted = {event.prompt_id for event in kept}
    found: list[dict[str, Record]] = []
    for table, key in ((schema.prompts, schema.prompts.c.id), (schema.answers, schema.answers.c.prompt_id)):
        rows = [
            row._asdict()
            for chunk in events.chunks(wanted)
            for row in connection.execute(select(table).where(key.in_(chunk)))
        ]
        found.append({row["id"]: row for row in sorted(rows, key=lambda row: row["seq"])})
    return found[0], found[1]


def _pair_lines(event: Event, prompts: dict[str, Record], answers: dict[str, Record]) -> list[Record]:
    judgement = decode(event)
    shown_first = None
    if isinstance(judgement, Comparison | PanelComparison):
        shown_first = "rejected" if judgement.preference < 0 else "chosen"
    return [
        {
            "prompt": prompts[event.prompt_id]["messages"],
            "chosen": [{"role": "assistant", "content": answers[pair.first]["text"]}],
            "rejected": [{"role": "assistant", "content": answers[pair.second]["text"]}],
            "strength": pair.preference,
            "chosen_id": pair.first,
            "rejected_id": pair.second,
            # A comparison is restored by the side that was shown first, a ranking by its whole order.
            "shown_first": shown_first,
            "order": event.payload.get("order"),
            **({"payload": dict(event.payload)} if _more_than_pairs(event) else {}),
            **_event_columns(event),
        }
        for pair in told(judgement)
    ]


def _more_than_pairs(event: Event) -> bool:
    """Whether an event says what neither its pairs nor their columns hold."""
    return event.kind in ("edit", "plan_choice") or "shown" in event.payload


def _from_pair(line: Record) -> Record:
    if "payload" in line:
        return line
    if line["kind"] == "ranking":
        return line | {"payload": {"order": line["order"]}}
    first, second, sign = line["chosen_id"], line["rejected_id"], 1
    if line["shown_first"] == "rejected":
        first, second, sign = second, first, -1
    return line | {"payload": {"first": first, "second": second, "preference": sign * line["strength"]}}


def _as_event(record: Record) -> Event:
    names = ("kind", "annotator", "prompt_id", "criterion", "round", "payload")
    times = ("seq", "seconds", "client_ms", "server_ms")
    known = {name: record[name] for name in names + times}
    return Event(id=UUID(record["event"]), item="", target=None, **known)


def _event_columns(event: Event) -> Record:
    return {
        "event": str(event.id),
        "seq": event.seq,
        "kind": event.kind,
        "annotator": event.annotator,
        "prompt_id": event.prompt_id,
        "criterion": event.criterion,
        "round": event.round,
        "seconds": event.seconds,
        "client_ms": event.client_ms,
        "server_ms": event.server_ms,
    }


def _without_record(row: Record) -> Record:
    return {key: value for key, value in row.items() if key != "record"}


def _write(path: Path, records: list[Record]) -> str:
    data = "".join(dump_json(record) + "\n" for record in records).encode()
    # The whole file or none: a reader never meets half an export.
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(data)
    partial.replace(path)
    return hashlib.sha256(data).hexdigest()


def _read(path: Path) -> Iterator[Record]:
    if not path.is_file():
        raise UserError(f"There is no file {path}: an export is two files, keep them side by side.")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                record = json.loads(line)
            except ValueError as trouble:
                raise UserError(f"{path}, line {number} is not JSON ({trouble}): export again.") from None
            if not isinstance(record, dict):
                raise UserError(f"{path}, line {number} is not a JSON object: export again.")
            yield record


def _field(record: Record, name: str, path: Path) -> Any:
    if name not in record:
        raise UserError(f"{path} has a line without '{name}': it is not the context of an export.")
    return record[name]
