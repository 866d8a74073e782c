"""Whole judgements of several answers: rankings with ties, ratings, strengths; files, the store, and pairs."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Unpack

from heedful.data import files, formats, shapes
from heedful.data.files import Row
from heedful.data.messages import Skip, content_id, prompt_id
from heedful.data.rows import messages_row
from heedful.data.shapes import Shape
from heedful.data.store import items, queries
from heedful.data.store.convert import better_first, told
from heedful.data.store.judgements import decode
from heedful.data.store.records import Event, Judgement, Where
from heedful.data.store.store import Store
from heedful.data.wording import kind
from heedful.errors import UserError
from heedful.types import (
    Comparison,
    Message,
    PanelComparison,
    PanelRating,
    Preference,
    Ranking,
    Rating,
    Verdict,
)


def read_verdicts(
    path: str | Path, *, limit: int | None = None, skipped: Counter[str] | None = None
) -> list[Verdict]:
    """Rows with `answers` and a `ranking` or `ratings`, or preferences of any format (a verdict on two answers).

    `ranking` holds positions in `answers`, best first; a list in it is a tie ([[2], [0, 1]]). `ratings` holds a
    number an answer, or null. `strength` (0 is a tie) or TRL's `margin`, `probability`, `criterion`, `id` and
    `source` (who judged) are taken over.
    """
    return formats.gather(files.read_rows(path), shapes.VERDICTS, "verdicts", _verdicts, limit, skipped)


def write_verdicts(path: str | Path, verdicts: Iterable[Verdict]) -> int:
    """Write the JSONL that `read_verdicts` gives back unchanged."""
    return files.write_jsonl(path, map(_row, verdicts))


def verdicts(store: Store, **where: Unpack[Where]) -> Iterator[Verdict]:
    """Yield what the store's current judgements say of answers, panels and plans: orders, pairs and marks.

    An annotator's ratings of a prompt are one verdict.
    """
    with store.reading() as connection:
        messages = {prompt.id: prompt.messages for prompt in items.get_prompts(connection, None, None)}
        texts = {answer.id: answer.text for answer in items.get_answers(connection, None, None)}
        yield from spelled_out(queries.current(connection, None, **where), messages, texts)


def spelled_out(
    events: Iterable[Event], messages: Mapping[str, tuple[Message, ...]], texts: Mapping[str, str]
) -> list[Verdict]:
    """Verdicts in the order of their (first) events, with the messages of prompts and the texts of answers by id."""
    found: list[Verdict | list[Rating]] = []
    ratings: dict[tuple[str, str, str], list[Rating]] = {}
    names: list[str] = []
    for event in events:
        judgement = decode(event)
        if isinstance(judgement, Rating | PanelRating):
            key = (judgement.annotator, judgement.prompt_id, judgement.criterion)
            if key not in ratings:
                found.append(ratings.setdefault(key, []))
                names.append(str(event.id))
            ratings[key].append(_mark(judgement))
        for one in _orders(judgement):
            found.append(_ordered(one, messages, texts, str(event.id)))
            names.append(str(event.id))
    return [
        v if isinstance(v, Verdict) else _rated(v, messages, texts, name)
        for v, name in zip(found, names, strict=True)
    ]


def told_apart(verdict: Verdict, *, ties: bool = False) -> list[Preference]:
    """The pairs of a verdict, better answer first, by its ranks or else by its ratings; with ties, if asked for.

    Where there are ratings, a pair is as strong as they lie apart; a rank tells order, not strength.
    """
    ranks = verdict.ranks or ranked(verdict.ratings)
    tiers = [[i for i, r in enumerate(ranks) if r == rank] for rank in sorted(set(ranks))]
    pairs = [(i, j) for better, worse in combinations(tiers, 2) for i in better for j in worse]
    if ties:
        pairs += [pair for tier in tiers for pair in combinations(tier, 2)]
    return [
        _preference(verdict, i, j, tie=ranks[i] == ranks[j])
        for i, j in pairs
        if verdict.answers[i] != verdict.answers[j] and verdict.answers[i].strip()
    ]


def _preference(verdict: Verdict, chosen: int, rejected: int, *, tie: bool) -> Preference:
    gap = verdict.ratings[chosen] - verdict.ratings[rejected] if verdict.ratings else 0.0
    one, other = verdict.answers[chosen], verdict.answers[rejected]
    return Preference(
        messages=verdict.messages,
        chosen=one,
        rejected=other,
        strength=0.0 if tie else gap if gap > 0 else verdict.strength,
        id=verdict.id if len(verdict.answers) == 2 else content_id(verdict.id, one, other),
        source=verdict.source,
        criterion=verdict.criterion,
        probability=0.5 if tie else verdict.probability,
    )


def preferences(given: Sequence[Verdict], *, ties: bool = False) -> list[Preference]:
    """The pairs of all verdicts. Ratings count only where nobody ranked: the same people gave both."""
    return [p for v in ordering(given) for p in told_apart(v, ties=ties)]


def ordering(given: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts that say an order: those with ranks, or all if none has."""
    return [v for v in given if v.ranks] or list(given)


def ranked(ratings: Sequence[float]) -> tuple[int, ...]:
    """Ranks from ratings: 0 is the highest, equal ratings are a tie."""
    places = sorted(set(ratings), reverse=True)
    return tuple(places.index(r) for r in ratings)


def _mark(judgement: Rating | PanelRating) -> Rating:
    if isinstance(judgement, Rating):
        return judgement
    return Rating(
        judgement.prompt_id,
        judgement.panel_id,
        judgement.annotator,
        judgement.score,
        judgement.criterion,
        judgement.seconds,
    )


def _orders(judgement: Judgement) -> Sequence[Ranking | Comparison]:
    """The orders that a judgement says: a ranking, two sides that may be tied, or a pair for each plan not taken."""
    if isinstance(judgement, Ranking):
        return [judgement]
    if isinstance(judgement, Comparison | PanelComparison):
        return [better_first(judgement)]
    return told(judgement)


def _ordered(
    judgement: Ranking | Comparison,
    messages: Mapping[str, tuple[Message, ...]],
    texts: Mapping[str, str],
    name: str,
) -> Verdict:
    strength = 1.0
    if isinstance(judgement, Ranking):
        tiers = judgement.order
    else:
        one, other, strength = judgement.first, judgement.second, float(judgement.preference)
        tiers = ((one,), (other,)) if judgement.preference else ((one, other),)
    return Verdict(
        messages=messages[judgement.prompt_id],
        answers=tuple(texts[answer] for tier in tiers for answer in tier),
        ranks=tuple(rank for rank, tier in enumerate(tiers) for _ in tier),
        strength=strength,
        criterion=judgement.criterion,
        id=name,
        source=judgement.annotator,
    )


def _rated(
    ratings: Sequence[Rating],
    messages: Mapping[str, tuple[Message, ...]],
    texts: Mapping[str, str],
    name: str,
) -> Verdict:
    first = ratings[0]
    return Verdict(
        messages=messages[first.prompt_id],
        answers=tuple(texts[r.answer_id] for r in ratings),
        ratings=tuple(float(r.score) for r in ratings),
        criterion=first.criterion,
        id=name,
        source=first.annotator,
    )


def _verdicts(row: Row, shape: Shape) -> list[Verdict]:
    sample = shape.parse(row)
    strength = formats.strength_of(row)
    answers, ratings = sample.answers, tuple[float, ...]()
    if "answers" not in shape.columns:
        ranks: tuple[int, ...] = (0,) * len(answers) if strength is None else tuple(range(len(answers)))
    else:
        ranks = _ranks(row, len(answers))
        marks = _ratings(row, len(answers))
        # An answer without a rank or a rating says nothing; one with either of two is no use to half of what follows.
        kept = [
            i
            for i in range(len(answers))
            if answers[i].strip() and (not ranks or ranks[i] >= 0) and (not marks or marks[i] is not None)
        ]
        answers = tuple(answers[i] for i in kept)
        ranks = tuple(ranks[i] for i in kept) if ranks else ()
        ratings = tuple(m for i in kept if (m := marks[i]) is not None) if marks else ()
    if not answers or (len(answers) == 1 and not ratings):
        raise Skip("a single answer")
    if len(set(answers)) == 1 and not ratings:
        raise Skip("equal or empty answers")
    name = formats.short(row, "id") or content_id(prompt_id(sample.prompt), *answers)
    return [
        Verdict(
            sample.prompt,
            answers,
            ranks,
            ratings,
            0.0 if strength is None else strength,
            formats.chance(row, "probability"),
            formats.short(row, "criterion") or "overall",
            name,
            formats.short(row, "source"),
        )
    ]


def _ranks(row: Row, n: int) -> tuple[int, ...]:
    """Ranks from a `ranking`, -1 where an answer is not in it; none without one."""
    ranking = row.data.get("ranking")
    if ranking is None:
        return ()
    tiers = [tier if isinstance(tier, list) else [tier] for tier in ranking] if type(ranking) is list else []
    places = [place for tier in tiers for place in tier]
    known = all(type(p) is int and p in range(n) for p in places)
    if not places or not known or len(set(places)) < len(places):
        raise UserError(
            f"{row.where}: 'ranking' is {kind(ranking)}, but it must list positions in 'answers' (0 to {n - 1}), "
            "best first, each once, ties in a list of their own: [[2], [0, 1]]."
        )
    found = [-1] * n
    for rank, tier in enumerate(tiers):
        for place in tier:
            found[place] = rank
    return tuple(found)


def _ratings(row: Row, n: int) -> list[float | None]:
    """A number or nothing an answer; empty without `ratings`."""
    ratings = row.data.get("ratings")
    if ratings is None:
        return []
    if not isinstance(ratings, list) or len(ratings) != n:
        raise UserError(
            f"{row.where}: 'ratings' is {kind(ratings)}, but it must be a list of {n} numbers or null, one an answer."
        )
    return [None if r is None else formats.finite(r, f"{row.where}: 'ratings'") for r in ratings]


def _row(verdict: Verdict) -> dict[str, Any]:
    tiers: dict[int, list[int]] = {}
    for place, rank in enumerate(verdict.ranks):
        tiers.setdefault(rank, []).append(place)
    said: dict[str, Any] = {"ranking": [tiers[rank] for rank in sorted(tiers)]} if verdict.ranks else {}
    if verdict.ratings:
        said["ratings"] = list(verdict.ratings)
    return {
        "prompt": messages_row(verdict.messages),
        "answers": list(verdict.answers),
        **said,
        # A strength of 0 says tie; a choice between two without any margin is none.
        "margin" if verdict.strength <= 0 and len(tiers) > 1 else "strength": verdict.strength,
        "probability": verdict.probability,
        "criterion": verdict.criterion,
        "id": verdict.id,
        "source": verdict.source,
    }
