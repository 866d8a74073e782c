"""Ways in which people answer a question about a passage."""

from random import Random

from heedful.world.grammar import Fact, fill, finish, say
from heedful.world.languages import lexicon
from heedful.world.questions import ASKED
from heedful.world.story import strangers
from heedful.world.tasks import Truth


def _goal(known: Truth) -> dict[str, str]:
    return dict(next((fact.slots for fact in known.facts if fact.kind == "goal"), {}))


def _others(known: Truth) -> list[Fact]:
    return [fact for fact in known.facts if fact != known.asked]


def _sentences(known: Truth, *clauses: str) -> str:
    lex = lexicon(known.lang)
    return lex.space.join(finish(lex, clause) for clause in clauses)


def plain(known: Truth, rng: Random) -> str:
    """The fact, as a sentence."""
    return _sentences(known, say(lexicon(known.lang), known.asked))


def supported(known: Truth, rng: Random) -> str:
    """The fact, and one more that belongs to it."""
    lex = lexicon(known.lang)
    best = ("event", "where", "obstacle", "help", "goal")
    more = sorted(_others(known), key=lambda fact: best.index(fact.kind) if fact.kind in best else len(best))
    support = more[0] if rng.random() < 0.7 else rng.choice(more)
    return _sentences(known, say(lex, known.asked), say(lex, support))


def bare(known: Truth, rng: Random) -> str:
    """The name alone."""
    lex = lexicon(known.lang)
    return _sentences(known, fill(lex, rng.choice(lex.bare[known.kind]), known.asked.slots))


def rambling(known: Truth, rng: Random) -> str:
    """The fact, among much else."""
    lex = lexicon(known.lang)
    extra = [say(lex, fact, rng) for fact in rng.sample(_others(known), 2)]
    parts = [rng.choice(lex.wordings["filler"]), say(lex, known.asked), *extra]
    return _sentences(known, *(parts if rng.random() < 0.5 else parts[1:]))


def vague(known: Truth, rng: Random) -> str:
    """Nothing that helps."""
    return _sentences(known, rng.choice(lexicon(known.lang).wordings["vague"]))


def wrong(known: Truth, rng: Random) -> str:
    """Something made up."""
    lex = lexicon(known.lang)
    slots = dict(known.asked.slots)
    wanted = ASKED[known.kind][2]
    company = {name for fact in (*known.facts, known.asked) for name in fact.slots.values()}
    for slot in wanted if rng.random() < 0.5 else wanted[-1]:
        # Of the few goals, none may be left; the thing is then another.
        slots[slot] = rng.choice(strangers(lex, slot, company) or [slots[slot]])
    fact = Fact(known.asked.kind, slots)
    if rng.random() < 0.4:
        return _sentences(known, fill(lex, rng.choice(lex.bare[known.kind]), slots))
    return _sentences(known, say(lex, fact))


def _unsaid(known: Truth, rng: Random) -> str:
    lex = lexicon(known.lang)
    start = lex.wordings["abstain"][0] if rng.random() < 0.7 else rng.choice(lex.wordings["abstain"])
    return start + fill(lex, lex.unsaid[known.kind], {**_goal(known), **known.asked.slots})


def honest(known: Truth, rng: Random) -> str:
    """What it is that the story does not say."""
    return _sentences(known, _unsaid(known, rng))


def honest_supported(known: Truth, rng: Random) -> str:
    """The same, and something that the story does say."""
    return _sentences(known, _unsaid(known, rng), say(lexicon(known.lang), rng.choice(_others(known))))


def unknown(known: Truth, rng: Random) -> str:
    """No more than that one does not know."""
    return _sentences(known, rng.choice(lexicon(known.lang).wordings["unknown"]))
