"""Ways in which people write stories, and answer unkind requests."""

from collections.abc import Sequence
from random import Random

from heedful.world.grammar import Fact, fill, finish, say, tell
from heedful.world.languages import lexicon
from heedful.world.story import strangers
from heedful.world.tasks import Truth

_LONGEST = 38  # words and stops (in Chinese, about two characters a word)


def _told(known: Truth, facts: Sequence[Fact], rng: Random, joined: float = 0.25, begins: bool = True) -> str:
    """Tell facts, anew while it is too long for an answer; the last telling is as plain as can be."""
    lex = lexicon(known.lang)
    for _ in range(20):
        text = tell(lex, facts, known.hero, rng, joined, begins)
        if lex.length(text) <= _LONGEST:
            return text
    return lex.space.join(finish(lex, say(lex, fact)) for fact in facts)


def _ordered(known: Truth) -> list[Fact]:
    order = ("home", "goal", "where", "event", "obstacle", "help")
    return sorted(known.facts, key=lambda fact: order.index(fact.kind))


def _end(known: Truth, rng: Random) -> list[Fact]:
    lex = lexicon(known.lang)
    good = rng.random() < 0.75
    mood = rng.choice(lex.good_moods if good else lex.bad_moods)
    return [
        Fact("success" if good else "failure", dict(known.asked.slots)),
        Fact("mood", {"p": known.hero, "m": mood}),
    ]


def _trait(known: Truth, rng: Random) -> Fact:
    return Fact("trait", {"p": known.hero, "a": rng.choice(lexicon(known.lang).names["a"])})


def complete(known: Truth, rng: Random) -> str:
    """All materials, in order, and a proper end."""
    return _told(known, [*_ordered(known), *_end(known, rng)], rng)


def forgetful(known: Truth, rng: Random) -> str:
    """One or two materials are forgotten."""
    facts = _ordered(known)
    drop = rng.sample([fact for fact in facts if fact != known.asked], rng.choice((1, 2)))
    return _told(
        known, [*(fact for fact in facts if fact not in drop), *_end(known, rng)[: rng.choice((1, 2))]], rng
    )


def endless(known: Truth, rng: Random) -> str:
    """The story stops without an end."""
    facts = [_trait(known, rng), *_ordered(known)] if rng.random() < 0.5 else _ordered(known)
    return _told(known, facts, rng)


def repeating(known: Truth, rng: Random) -> str:
    """Something is told twice."""
    facts = _ordered(known)
    again = rng.randrange(len(facts))
    return _told(
        known, [*facts[: again + 1], facts[again], *facts[again + 1 :], _end(known, rng)[0]], rng, 0.0
    )


def _stranger(known: Truth, rng: Random) -> dict[str, str]:
    lex = lexicon(known.lang)
    given = {name for fact in known.facts for name in fact.slots.values()}
    return {slot: rng.choice(strangers(lex, slot, given)) for slot in "plt"}


def straying(known: Truth, rng: Random) -> str:
    """Another person, place or thing than those asked for comes in."""
    new = _stranger(known, rng)
    slot = rng.choice("plt")
    facts = [*_ordered(known), _end(known, rng)[0]]
    swapped = [Fact(f.kind, {k: new[slot] if k == slot else n for k, n in f.slots.items()}) for f in facts]
    return _told(known, swapped, rng)


def _help(known: Truth) -> Fact:
    return Fact("help", next(fact for fact in known.facts if fact.kind == "friend").slots)


def goes_on(known: Truth, rng: Random) -> str:
    """The friend helps, the goal is met or missed, and the hero feels so; often a promise is made."""
    lex = lexicon(known.lang)
    thanks = Fact("promise", {**_help(known).slots, "f": rng.choice(lex.names["f"])})
    return _told(
        known, [_help(known), *([thanks] if rng.random() < 0.6 else []), *_end(known, rng)], rng, begins=False
    )


def goes_on_shortly(known: Truth, rng: Random) -> str:
    """Only how it ended, or only how the hero felt."""
    return _told(
        known,
        _end(known, rng)[: rng.choice((1, 2))] if rng.random() < 0.7 else _end(known, rng)[1:],
        rng,
        begins=False,
    )


def goes_on_endlessly(known: Truth, rng: Random) -> str:
    """No outcome."""
    lex = lexicon(known.lang)
    thanks = Fact("promise", {**_help(known).slots, "f": rng.choice(lex.names["f"])})
    friend = Fact("trait", {"p": _help(known).slots["q"], "a": rng.choice(lex.names["a"])})
    return _told(
        known, rng.choice(([_help(known)], [_help(known), thanks], [_help(known), friend])), rng, begins=False
    )


def goes_on_repeating(known: Truth, rng: Random) -> str:
    """What was told before is told again."""
    return _told(
        known, [rng.choice(known.facts), rng.choice(known.facts), *_end(known, rng)[:1]], rng, begins=False
    )


def goes_on_straying(known: Truth, rng: Random) -> str:
    """A stranger helps, or another goal is met."""
    new = _stranger(known, rng)
    help_, (end, mood) = _help(known), _end(known, rng)
    if rng.random() < 0.5:
        help_ = Fact("help", {**help_.slots, "q": new["p"]})
    else:
        end = Fact(end.kind, {**end.slots, "t": new["t"]})
    return _told(known, [help_, end, mood], rng, begins=False)


def _say(known: Truth, rng: Random, *parts: str) -> str:
    lex = lexicon(known.lang)
    slots = {**known.asked.slots, "f": known.asked.slots.get("f") or rng.choice(lex.names["f"])}
    slots.setdefault("l", rng.choice(strangers(lex, "l", (slots["q"],))))
    return lex.space.join(finish(lex, fill(lex, part, slots)) for part in parts)


def _refusal(known: Truth, rng: Random) -> str:
    lex = lexicon(known.lang)
    return rng.choice(lex.wordings["refuse_deed"]) + lex.deeds[int(known.kind)]


def declines_kindly(known: Truth, rng: Random) -> str:
    """No, why not, and something kind instead."""
    words = lexicon(known.lang).wordings
    return _say(
        known, rng, _refusal(known, rng), rng.choice(words["kind_reason"]), rng.choice(words["offer"])
    )


def declines_with_reason(known: Truth, rng: Random) -> str:
    """No, and why not."""
    words = lexicon(known.lang).wordings
    return _say(
        known, rng, rng.choice((*words["refuse"], _refusal(known, rng))), rng.choice(words["kind_reason"])
    )


def declines(known: Truth, rng: Random) -> str:
    """No."""
    return _say(known, rng, rng.choice((*lexicon(known.lang).wordings["refuse"], _refusal(known, rng))))


def complies(known: Truth, rng: Random) -> str:
    """Childish advice."""
    words = lexicon(known.lang).wordings["comply"]
    return _say(known, rng, *rng.sample(words, rng.choice((1, 2))))
