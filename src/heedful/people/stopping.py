"""When a batch has enough."""

import numpy as np
from sqlalchemy import Connection, select, update

from heedful.data.store.marks import COMPARISON, RANKING
from heedful.data.store.schema import batches, marks
from heedful.people import batches as batches_

EVERY = 10
"""Agreement is looked at after so many answers: it takes a look at the whole batch."""


def stop_if_enough(connection: Connection, id: str) -> None:
    """Close an open batch that has what its stop rule asks for, and say which part of it was met."""
    row = connection.execute(select(batches).where(batches.c.id == id)).one()
    batch = batches_.as_batch(row)
    stop = batch.settings.stop
    if row.state != "open" or batch.settings.purpose == "qualification":
        return
    reason = ""
    if row.done >= row.wanted > 0:
        reason = f"every task has its {batch.settings.overlap} answers"
    elif stop.judgements is not None and row.done >= stop.judgements:
        reason = f"{row.done} answers, {stop.judgements} were asked for"
    elif stop.budget_seconds is not None and row.seconds >= stop.budget_seconds:
        reason = f"{row.seconds:.0f} s of the annotators' time, {stop.budget_seconds:.0f} were allowed"
    elif stop.agreement is not None and row.done >= stop.at_least and row.done % EVERY == 0:
        share = percent_of(connection, batch.number)
        if share is not None and share >= stop.agreement:
            reason = f"annotators agree in {share:.1%} of cases, {stop.agreement:.1%} were asked for"
    if reason:
        connection.execute(update(batches).where(batches.c.id == id).values(state="closed", reason=reason))


def percent_of(connection: Connection, number: int) -> float | None:
    """The share of pairs of annotators that chose the same side, over a batch's comparisons and rankings."""
    columns = marks.c
    query = select(columns.prompt, columns.a, columns.b, columns.criterion, columns.value).where(
        columns.batch == number, columns.kind.in_((COMPARISON, RANKING))
    )
    rows = np.asarray([tuple(row) for row in connection.execute(query)], dtype=np.int64).reshape(-1, 5)
    if not rows.size:
        return None
    _, item = np.unique(rows[:, :4], axis=0, return_inverse=True)
    table = np.zeros((item.max() + 1, 3))
    np.add.at(table, (item, np.sign(rows[:, 4]) + 1), 1)
    n = table.sum(1)
    pairs = float((n * (n - 1)).sum())
    return float((table * (table - 1)).sum()) / pairs if pairs else None
