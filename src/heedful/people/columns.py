"""The marks of a store as arrays."""

from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from heedful.data.store import schema
from heedful.data.store.schema import marks
from heedful.errors import UserError

Ints = NDArray[np.intp]

COLUMNS = ("event", "kind", "part", "annotator", "criterion", "prompt", "a", "b", "value", "side")

PAGE = 50_000
"""Rows fetched at once."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Parallel arrays, one entry a mark, in the order of events; `seconds` as thousandths.

    `names` are annotators and criteria by number.
    """

    event: Ints
    kind: Ints
    part: Ints
    annotator: Ints
    criterion: Ints
    prompt: Ints
    a: Ints
    b: Ints
    value: Ints
    side: Ints
    milliseconds: Ints
    names: dict[int, str]

    def of(self, kind: int) -> "Marks":
        """The marks of one kind."""
        return self.where(self.kind == kind)

    def where(self, mask: NDArray[np.bool_]) -> "Marks":
        """The marks for which the mask holds."""
        return Marks(
            **{name: getattr(self, name)[mask] for name in (*COLUMNS, "milliseconds")}, names=self.names
        )


def read(connection: Connection, *, batch: str | None, round_: int | None, criterion: str | None) -> Marks:
    """Read the marks of people, models and simulated annotators; gold is left out."""
    names = dict(connection.execute(select(schema.names.c.number, schema.names.c.name)).tuples().all())
    gold = set(
        connection.execute(
            select(schema.names.c.number)
            .join(schema.annotators, schema.annotators.c.name == schema.names.c.name)
            .where(schema.annotators.c.kind == "gold")
        ).scalars()
    )
    where = []
    if batch is not None:
        found = connection.execute(
            select(schema.batches.c.number).where(schema.batches.c.id == batch)
        ).scalar()
        if found is None:
            raise UserError(f"There is no batch {batch!r:.80}.")
        where.append(f"batch = {int(found)}")
    if round_ is not None:
        where.append(f"round = {int(round_)}")
    if criterion is not None:
        number = next((key for key, name in names.items() if name == criterion), 0)
        where.append(f"criterion = {number}")
    # Numbers alone, through the driver itself: rows of a mapper would take most of the time.
    columns = ", ".join((*COLUMNS, "CAST(seconds * 1000 AS BIGINT)"))
    condition = f" WHERE {' AND '.join(where)}" if where else ""
    cursor = connection.connection.cursor()
    cursor.execute(f"SELECT {columns} FROM {marks.name}{condition} ORDER BY event, part")
    width = len(COLUMNS) + 1
    # Page by page: all rows at once, as Python's numbers, would take ten times the arrays' memory.
    pages = [np.zeros((0, width), dtype=np.int64)]
    while rows := cursor.fetchmany(PAGE):
        flat = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=len(rows) * width)
        pages.append(flat.reshape(-1, width))
    table = np.concatenate(pages).T.astype(np.intp, copy=True)
    found_marks = Marks(**dict(zip((*COLUMNS, "milliseconds"), table, strict=True)), names=names)
    if gold:
        found_marks = found_marks.where(~np.isin(found_marks.annotator, list(gold)))
    return found_marks
