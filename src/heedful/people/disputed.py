"""What annotators disagree about most, for a person to decide."""

from collections.abc import Mapping

import numpy as np
from sqlalchemy import Connection, select

from heedful.data.store import schema
from heedful.data.store.marks import COMPARISON, RATING, STEPS
from heedful.people.columns import Marks
from heedful.people.figures import Disputed
from heedful.stats.coded import column_codes, disagreement

LONGEST = 50
"""How many are listed."""

SCALES = {COMPARISON: 6.0, RATING: 6.0, STEPS: 2.0}
"""The widest difference of two labels; in the pairs of a ranking it is 2."""


def disputed(connection: Connection, found: Marks, kinds: Mapping[int, str]) -> tuple[Disputed, ...]:
    """The items whose labels lie furthest apart; of equal ones those with more labels come first."""
    listed: list[tuple[float, int, int, Marks]] = []
    for kind in kinds:
        marks = found.of(kind)
        if not marks.kind.size:
            continue
        item = column_codes([marks.a, marks.b, marks.criterion, marks.part if kind == STEPS else marks.b])
        numbers, apart, labels = disagreement(item, marks.value, SCALES.get(kind, 2.0))
        for place in np.lexsort((numbers, -labels, -apart))[:LONGEST].tolist():
            if apart[place] > 0:
                mine = marks.where(item == numbers[place])
                listed.append((float(apart[place]), int(labels[place]), kind, mine))
    listed.sort(key=lambda row: (-row[0], -row[1]))
    return _told(connection, listed[:LONGEST], kinds)


def _told(
    connection: Connection, listed: list[tuple[float, int, int, Marks]], kinds: Mapping[int, str]
) -> tuple[Disputed, ...]:
    prompts = {
        row.seq: row
        for row in connection.execute(
            select(schema.prompts).where(
                schema.prompts.c.seq.in_([int(marks.prompt[0]) for *_, marks in listed])
            )
        )
    }
    wanted = {int(number) for *_, marks in listed for number in (marks.a[0], marks.b[0]) if number}
    names = dict(
        connection.execute(
            select(schema.answers.c.seq, schema.answers.c.id).where(schema.answers.c.seq.in_(wanted))
        )
        .tuples()
        .all()
    )
    firsts = [int(marks.event[0]) for *_, marks in listed]
    events = schema.events.c
    tasks: dict[int, str] = dict(
        connection.execute(
            select(events.seq, events.task).where(events.seq.in_(firsts), events.task.is_not(None))
        )
        .tuples()
        .all()
    )
    told = []
    for apart, _, kind, marks in listed:
        prompt = prompts[int(marks.prompt[0])]
        labels = {
            marks.names[who]: value
            for who, value in zip(marks.annotator.tolist(), marks.value.tolist(), strict=True)
        }
        title = prompt.messages[-1]["content"]
        answers = tuple(names[int(number)] for number in (marks.a[0], marks.b[0]) if number)
        task = tasks.get(int(marks.event[0]), "")
        criterion = marks.names[int(marks.criterion[0])]
        told.append(
            Disputed(
                kinds[kind], prompt.id, " ".join(title.split())[:80], criterion, answers, labels, apart, task
            )
        )
    return tuple(told)
