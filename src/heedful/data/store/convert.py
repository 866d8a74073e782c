"""From rankings and comparisons to the pairs that losses learn from."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Unpack

from heedful.data.store import items, queries
from heedful.data.store.judgements import decode
from heedful.data.store.records import Event, Judgement, Where
from heedful.data.store.store import Store
from heedful.types import Comparison, Edit, Message, PanelComparison, PlanChoice, Preference, Ranking


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
    """Yield what the current judgements tell apart (`told`) as chosen and rejected texts."""
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
    """Return the pairs that a judgement tells apart, the better answer first; none where it tells none apart.

    The plan that was chosen is better than each of the others, of which a choice says no more.
    """
    match judgement:
        case Ranking():
            return list(pairs([judgement]))
        case Edit(prompt_id=prompt, annotator=who):
            return [Comparison(prompt, judgement.answer_id, judgement.original, who, 1)]
        case PlanChoice(prompt_id=prompt, annotator=who, chosen=str(chosen)):
            return [
                Comparison(prompt, chosen, other, who, 1) for other in judgement.options if other != chosen
            ]
        case Comparison() | PanelComparison():
            return [better_first(judgement)] if judgement.preference else []
    return []


def better_first(judgement: Comparison | PanelComparison) -> Comparison:
    """The comparison, of answers or of panels, as it would read with the better side shown first."""
    one, other = judgement.first, judgement.second
    first, second = (one, other) if judgement.preference >= 0 else (other, one)
    return Comparison(
        judgement.prompt_id,
        first,
        second,
        judgement.annotator,
        abs(judgement.preference),
        judgement.criterion,
        judgement.seconds,
    )
