"""From rankings and comparisons to the pairs that losses learn from."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Unpack

from heedful.data.store import items, queries
from heedful.data.store.judgements import decode
from heedful.data.store.records import Event, Judgement, Where
from heedful.data.store.store import Store
from heedful.types import Comparison, Edit, Message, Preference, Ranking


def pairs(rankings: Iterable[Ranking]) -> Iterator[Comparison]:
    """Yield every pair of answers that a ranking tells apart, the better one first.

    A ranking of K answers without ties gives K(K-1)/2 pairs (InstructGPT, arXiv 2203.02155, section 3.5);
    tied answers give none. A ranking tells order, not strength, so each preference is 1; the time stays
    with the ranking.
    """
    for ranking in rankings:
        for better, worse in combinations(ranking.order, 2):
            for first in better:
                for second in worse:
                    yield Comparison(
                        ranking.prompt_id, first, second, ranking.annotator, 1, ranking.criterion
                    )


def preferences(store: Store, **where: Unpack[Where]) -> Iterator[Preference]:
    """Yield the current comparisons and the pairs of the current rankings as chosen and rejected texts.

    Comparisons without a preference are left out: there is nothing to choose.
    """
    with store.reading() as connection:
        messages = {prompt.id: prompt.messages for prompt in items.get_prompts(connection, None, None)}
        texts = {answer.id: answer.text for answer in items.get_answers(connection, None, None)}
        yield from spelled_out(queries.current(connection, None, **where), messages, texts)


def spelled_out(
    events: Iterable[Event], messages: Mapping[str, tuple[Message, ...]], texts: Mapping[str, str]
) -> Iterator[Preference]:
    """Yield what events tell apart, with the messages of prompts and the texts of answers by id."""
    for event in events:
        for comparison in told(decode(event)):
            yield Preference(
                messages=messages[comparison.prompt_id],
                chosen=texts[comparison.first],
                rejected=texts[comparison.second],
                strength=float(comparison.preference),
                id=str(event.id),
                source=comparison.annotator,
            )


def told(judgement: Judgement) -> list[Comparison]:
    """Return the pairs that a comparison, a ranking or an edit tells apart, the better answer first."""
    if isinstance(judgement, Ranking):
        return list(pairs([judgement]))
    if isinstance(judgement, Edit):
        first, second = judgement.answer_id, judgement.original
        return [Comparison(judgement.prompt_id, first, second, judgement.annotator, 1)]
    if not isinstance(judgement, Comparison) or judgement.preference == 0:
        return []
    if judgement.preference > 0:
        return [judgement]
    swapped = replace(
        judgement, first=judgement.second, second=judgement.first, preference=-judgement.preference
    )
    return [swapped]
