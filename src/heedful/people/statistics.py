"""Every figure of the statistics page, from the marks of a store."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, select

from heedful.data.store import schema
from heedful.data.store.events import last_seq
from heedful.data.store.marks import COMPARISON, RANKING, RATING, STEPS
from heedful.data.store.store import Store
from heedful.people import columns, disputed, policies
from heedful.people.columns import Marks
from heedful.people.figures import AnnotatorFigures, Statistics, Times
from heedful.stats.aggregate import dawid_skene
from heedful.stats.blocks import block_sums, bootstrap_sums
from heedful.stats.coded import Coded, agreements, column_codes
from heedful.stats.estimate import Estimate, undefined
from heedful.stats.intervals import mean_interval, wilson
from heedful.stats.labels import Labels

Ints = NDArray[np.intp]
Floats = NDArray[np.float64]

NAMES = {COMPARISON: "comparison", RANKING: "ranking", RATING: "rating", STEPS: "steps"}
MOST = 10_000
"""Items that Dawid and Skene's annotators are measured on: beyond, the figures hardly move."""


def statistics(
    store: Store,
    *,
    batch: str | None = None,
    round: int | None = None,
    criterion: str | None = None,
    resamples: int = 200,
    seed: int = 0,
) -> Statistics:
    """Measure agreement, annotators, biases, policies and times over the current judgements.

    `batch`, `round` and `criterion` narrow what is looked at; gold counts nowhere. Intervals are bootstrap
    intervals over prompts with `resamples` resamples, except where the record says otherwise.
    """
    with store.reading() as connection:
        found = columns.read(connection, batch=batch, round_=round, criterion=criterion)
        lengths = _lengths(connection)
        as_of, kinds = last_seq(connection), _kinds(connection, found)
        games = policies.read(connection, found, lengths)
        quarrels = disputed.disputed(connection, found, NAMES)
        people = dict(
            connection.execute(select(schema.annotators.c.name, schema.annotators.c.kind)).tuples().all()
        )
    parts = {number: found.of(number) for number in NAMES}
    found_agreements = {
        NAMES[number]: agreements(_coded(marks, number), resamples=resamples, seed=seed)
        for number, marks in parts.items()
        if marks.kind.size
    }
    models, tie, effect = policies.figures(games, seed=seed)
    position, length = _biases(found, lengths, resamples, seed)
    note = f"Accuracy and bias of annotators are measured on {MOST} items drawn at random."
    told, cut = _annotators(found, lengths, people, seed)
    return Statistics(
        as_of=as_of,
        kinds=kinds,
        agreement=found_agreements,
        annotators=told,
        position=position,
        length=length,
        models=models,
        tie=tie,
        length_effect=effect,
        times=_times(found),
        adjudication=quarrels,
        notes=(note,) if cut else (),
    )


def _lengths(connection: Connection) -> Ints:
    """The length of each answer's text by the answer's number."""
    last = connection.execute(select(func.max(schema.answers.c.seq))).scalar_one() or 0
    found = np.zeros(last + 1, dtype=np.intp)
    rows = connection.execute(select(schema.answers.c.seq, schema.answers.c.length)).all()
    if rows:
        table = np.asarray([tuple(row) for row in rows], dtype=np.intp)
        found[table[:, 0]] = table[:, 1]
    return found


def _kinds(connection: Connection, found: Marks) -> dict[str, int]:
    """Judgements by kind, as far as they are looked at; those without marks are counted for the whole store."""
    whole = found.part == 0
    counted = {name: int(((found.kind == number) & whole).sum()) for number, name in NAMES.items()}
    others = ("demonstration", "edit", "comment", "plan_choice", "skip", "flag")
    query = select(schema.judgements.c.kind, func.count()).where(schema.judgements.c.kind.in_(others))
    rows = connection.execute(query.group_by(schema.judgements.c.kind)).tuples().all()
    return {name: n for name, n in (counted | dict(rows)).items() if n}


def _coded(marks: Marks, kind: int) -> Coded:
    """Labels of items: the side chosen in a pair, the mark of an answer, the label of a step."""
    item = column_codes([marks.a, marks.b, marks.criterion, *([marks.part] if kind == STEPS else [])])
    value = np.sign(marks.value) if kind in (COMPARISON, RANKING) else marks.value
    return Coded(item, marks.annotator, value, marks.prompt)


def _biases(found: Marks, lengths: Ints, resamples: int, seed: int) -> tuple[Estimate, Estimate]:
    """The shares of choices for the side shown first, and for the longer answer; ties apart."""
    chosen = np.sign(found.value)
    first, longer = _leanings(found, lengths, chosen)
    estimates = []
    for lean, what in ((first, "whose sides were recorded"), (longer, "between answers of different length")):
        known = lean != 0
        if not known.any():
            estimates.append(undefined(f"there is no choice {what}"))
            continue
        terms = np.stack([(lean[known] > 0).astype(np.float64), np.ones(int(known.sum()))], axis=1)
        sums = block_sums(terms, found.prompt[known], seed=seed)
        n = int(known.sum())
        estimates.append(
            bootstrap_sums(lambda t: float(t[0] / t[1]), sums, n=n, resamples=resamples, seed=seed)
        )
    return estimates[0], estimates[1]


def _leanings(found: Marks, lengths: Ints, chosen: Ints) -> tuple[Ints, Ints]:
    """For each pair 1 if the side shown first (the longer answer) was chosen, -1 if not, 0 if unknown."""
    pair = found.b > 0
    first = np.where(pair, chosen * found.side, 0)
    longer = np.where(pair, chosen * np.sign(lengths[found.a] - lengths[found.b]), 0)
    return first, longer


def _annotators(
    found: Marks, lengths: Ints, kinds: Mapping[str, str], seed: int
) -> tuple[tuple[AnnotatorFigures, ...], bool]:
    first, longer = _leanings(found, lengths, np.sign(found.value))
    accuracy, bias, cut = _habits(found, seed)
    size = int(found.annotator.max()) + 1 if found.annotator.size else 0
    whole = found.part == 0
    counts = np.bincount(found.annotator[whole], minlength=size)
    medians = _medians(found)
    told = []
    leans = [
        [np.bincount(found.annotator[chosen], minlength=size) for chosen in (lean > 0, lean != 0)]
        for lean in (first, longer)
    ]
    for number in np.flatnonzero(np.bincount(found.annotator, minlength=size)).tolist():
        shares = [wilson(int(yes[number]), int(known[number])) for yes, known in leans]
        name = found.names[number]
        told.append(
            AnnotatorFigures(
                name,
                kinds.get(name, "person"),
                int(counts[number]),
                medians.get(number),
                accuracy.get(number),
                bias.get(number, {}),
                shares[0],
                shares[1],
            )
        )
    return tuple(sorted(told, key=lambda one: (-one.judgements, one.name))), cut


def _habits(found: Marks, seed: int) -> tuple[dict[int, float], dict[int, dict[str, float]], bool]:
    """Dawid and Skene's accuracy and bias of each annotator, on the choices in pairs that several judged."""
    pairs = found.where(found.b > 0)
    _, item = np.unique(column_codes([pairs.a, pairs.b, pairs.criterion]), return_inverse=True)
    if not item.size:
        return {}, {}, False
    several = np.flatnonzero(np.bincount(item) >= 2)
    cut = several.size > MOST
    if cut:
        several = np.random.default_rng(seed).permutation(several)[:MOST]
    kept = np.isin(item, several)
    if not kept.any():
        return {}, {}, False
    items, item_code = np.unique(item[kept], return_inverse=True)
    people, person = np.unique(pairs.annotator[kept], return_inverse=True)
    values, value = np.unique(np.sign(pairs.value[kept]), return_inverse=True)
    labels = Labels(
        tuple(range(items.size)), tuple(people.tolist()), tuple(values.tolist()), item_code, person, value
    )
    told = dawid_skene(labels, iterations=100, tolerance=1e-5)
    words = {-1: "second", 0: "tie", 1: "first"}
    accuracy: dict[int, float] = {}
    bias: dict[int, dict[str, float]] = {}
    for place, number in enumerate(people.tolist()):
        confusion = told.confusion[place]
        accuracy[number] = float(told.prior @ np.diag(confusion))
        lean = told.prior @ confusion - told.prior
        bias[number] = {words[v]: float(lean[k]) for k, v in enumerate(values.tolist())}
    return accuracy, bias, cut


def _medians(found: Marks) -> dict[int, float]:
    """The median seconds of each annotator's judgements that took time."""
    timed = (found.part == 0) & (found.milliseconds > 0)
    order = np.lexsort((found.milliseconds[timed], found.annotator[timed]))
    who, time = found.annotator[timed][order], found.milliseconds[timed][order]
    people, start, n = np.unique(who, return_index=True, return_counts=True)
    middle = (time[start + (n - 1) // 2] + time[start + n // 2]) / 2000
    return dict(zip(people.tolist(), middle.tolist(), strict=True))


def _times(found: Marks) -> dict[str, Times]:
    told: dict[str, Times] = {}
    for number, name in NAMES.items():
        timed = (found.kind == number) & (found.part == 0) & (found.milliseconds > 0)
        seconds: Any = found.milliseconds[timed] / 1000
        if seconds.size:
            median, p90 = np.quantile(seconds, [0.5, 0.9]).tolist()
            told[name] = Times(seconds.size, median, p90, mean_interval(seconds))
    return told
