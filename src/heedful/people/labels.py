"""From many people's judgements to what a model learns from: as they are, or one label for each pair."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from heedful.data.store import items
from heedful.data.store.convert import better_first, spelled_out, told
from heedful.data.store.judgements import decode
from heedful.data.store.records import Event
from heedful.data.store.store import Store
from heedful.stats.aggregate import dawid_skene
from heedful.stats.labels import encode
from heedful.stats.strength import bradley_terry
from heedful.types import Comparison, Message, PanelComparison, Preference, Ranking

Aggregate = Literal["none", "majority", "dawid_skene", "bradley_terry"]

RIDGE = 0.1
"""Keeps a prompt's strengths finite where one answer won every comparison."""


@dataclass(frozen=True, slots=True)
class Decided:
    """One pair of answers and what all judgements of it come to: `better` with `confidence` from 0.5 to 1."""

    prompt_id: str
    better: str
    worse: str
    confidence: float
    judgements: int


def aggregated(store: Store, events: Sequence[Event], how: Aggregate) -> list[Preference]:
    """The events as preferences; unless "none", one a pair, its `strength` the confidence in it.

    "majority" counts votes, "dawid_skene" weighs annotators by their habits (Dawid & Skene 1979),
    "bradley_terry" fits each prompt's answers on one scale. Pairs that come out even are left out.
    """
    with store.reading() as connection:
        wanted = {event.prompt_id for event in events}
        messages = {p.id: p.messages for p in items.get_prompts(connection, wanted, None)}
        texts = {a.id: a.text for a in items.get_answers(connection, wanted, None)}
    if how == "none":
        return list(spelled_out(events, messages, texts))
    return [_preference(one, messages, texts, how) for one in decided(events, how)]


def _preference(
    one: Decided, messages: Mapping[str, tuple[Message, ...]], texts: Mapping[str, str], how: str
) -> Preference:
    return Preference(
        messages[one.prompt_id],
        texts[one.better],
        texts[one.worse],
        one.confidence,
        f"{one.better} > {one.worse}",
        f"{how} of {one.judgements}",
    )


def decided(events: Iterable[Event], how: Aggregate) -> list[Decided]:
    """One verdict for each pair of answers that was compared or ranked, by prompt and pair."""
    votes = _votes(events)
    if not votes:
        return []
    found = {"majority": _majority, "dawid_skene": _habits, "bradley_terry": _scale}[how](votes)
    counts: dict[tuple[str, str, str], int] = defaultdict(int)
    for pair, _, _ in votes:
        counts[pair] += 1
    verdicts = []
    for (prompt, first, second), chance in sorted(found.items()):
        if abs(chance - 0.5) > 1e-9:
            better, worse = (first, second) if chance > 0.5 else (second, first)
            n = counts[prompt, first, second]
            verdicts.append(Decided(prompt, better, worse, max(chance, 1 - chance), n))
    return verdicts


Vote = tuple[tuple[str, str, str], str, int]
"""(prompt, lower answer, higher answer), annotator, and 1, 0 or -1 for the lower."""


def _votes(events: Iterable[Event]) -> list[Vote]:
    found: list[Vote] = []
    for event in events:
        judgement = decode(event)
        for one in [*told(judgement), *_even(judgement)]:
            sign = (one.preference > 0) - (one.preference < 0)
            low, high = sorted((one.first, one.second))
            found.append(((one.prompt_id, low, high), event.annotator, sign if low == one.first else -sign))
    return found


def _even(judgement: object) -> list[Comparison]:
    """The ties, which no preference holds."""
    if isinstance(judgement, Comparison | PanelComparison) and judgement.preference == 0:
        return [better_first(judgement)]
    if not isinstance(judgement, Ranking):
        return []
    return [
        Comparison(judgement.prompt_id, first, second, judgement.annotator, 0)
        for tier in judgement.order
        for place, first in enumerate(tier)
        for second in tier[place + 1 :]
    ]


def _majority(votes: list[Vote]) -> dict[tuple[str, str, str], float]:
    """The share of votes for the lower answer, ties half."""
    sums: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for pair, _, sign in votes:
        sums[pair].append((sign + 1) / 2)
    return {pair: float(np.mean(each)) for pair, each in sums.items()}


def _habits(votes: list[Vote]) -> dict[tuple[str, str, str], float]:
    """Dawid and Skene's probability that the lower answer is better, ties half."""
    labels = encode(votes)
    posterior = dawid_skene(labels).posterior
    weight = np.asarray([(float(v) + 1) / 2 for v in labels.values])  # type: ignore[arg-type]
    return {pair: float(p @ weight) for pair, p in zip(labels.items, posterior, strict=True)}  # type: ignore[misc]


def _scale(votes: list[Vote]) -> dict[tuple[str, str, str], float]:
    """Each prompt's answers on one scale: the probability that the lower of a pair beats the higher."""
    by_prompt: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_prompt[vote[0][0]].append(vote)
    found = {}
    for prompt, some in by_prompt.items():
        names = sorted({name for (_, low, high), _, _ in some for name in (low, high)})
        place = {name: number for number, name in enumerate(names)}
        wins = np.zeros((len(names), len(names)))
        ties = np.zeros_like(wins)
        for (_, low, high), _, sign in some:
            first, second = (place[low], place[high]) if sign >= 0 else (place[high], place[low])
            (wins if sign else ties)[first, second] += 1
        strength = bradley_terry(wins, ties, ridge=RIDGE).strength
        assert strength is not None  # a ridge always has a maximum
        for (_, low, high), _, _ in some:
            apart = float(strength[place[low]] - strength[place[high]])
            found[prompt, low, high] = 1 / (1 + float(np.exp(-apart)))
    return found


def judged_answers(event: Event) -> set[str]:
    """The answers that an event is about."""
    said = event.payload
    names = [said.get(name) for name in ("answer", "first", "second", "original")]
    ranked = [name for tier in said.get("order", ()) for name in tier]
    return {name for name in (*names, *ranked, *said.get("options", ())) if isinstance(name, str)}
