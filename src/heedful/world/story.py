"""A story's hidden truth, drawn so that some combinations of names are met in the test split only."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from random import Random
from typing import Literal

from heedful.types import Lang
from heedful.world.grammar import Fact
from heedful.world.languages import lexicon
from heedful.world.lexicon import Lexicon

Split = Literal["train", "test"]
_HELD_OUT = 6  # one combination in so many is kept for the test split


@dataclass(frozen=True)
class Story:
    """Who wanted what, where, why, what came between, who helped, what was promised, how it ended.

    `facts` are all that is so, in the order of telling; `told` are those that the passage tells.
    """

    lang: Lang
    hero: str
    friend: str
    facts: tuple[Fact, ...]
    told: tuple[Fact, ...]

    @property
    def goal(self) -> Mapping[str, str]:
        """The names in the story's goal."""
        return next(fact.slots for fact in self.facts if fact.kind == "goal")


def held_out(first: str, second: str) -> bool:
    """Whether a person and a place or thing, or a goal and a place, meet in the test split only."""
    return blake2b(f"{first}|{second}".encode(), digest_size=2).digest()[0] % _HELD_OUT == 0


# Of which types the names are that a name of a type may meet in the test split only.
_HELD_APART = {"p": "lt", "l": "pv", "t": "p", "v": "l"}


def meet_in_test(lex: Lexicon, first: str, second: str) -> bool:
    """Whether two names of any types, in any order, meet in the test split only."""
    if lex.type_of[second] not in _HELD_APART.get(lex.type_of[first], ""):
        return False
    return held_out(*((first, second) if lex.type_of[first] in "pv" else (second, first)))


def strangers(lex: Lexicon, slot: str, company: Collection[str]) -> list[str]:
    """The names that could fill a slot, are not in the company, and may join it in training."""
    names = lex.by_type["p" if slot == "q" else slot]
    return [
        n for n in names if n not in company and not any(meet_in_test(lex, n, other) for other in company)
    ]


@lru_cache
def _partners(lang: Lang, slot: str, name: str) -> tuple[str, ...]:
    return tuple(other for other in lexicon(lang).by_type[slot] if held_out(other, name))


def _cast(lang: Lang, split: Split, rng: Random) -> dict[str, str]:
    """Names for a story: hero p, friend q, home h, place l, thing t, goal v."""
    lex = lexicon(lang)
    while True:
        place = rng.choice(lex.names["l"])
        home = rng.choice([other for other in lex.names["l"] if other != place])
        thing = rng.choice(lex.names["t"])
        if split == "test":
            heroes = [p for p in _partners(lang, "p", place) if held_out(p, thing)]
            goals = _partners(lang, "v", place)
        else:
            heroes = [p for p in lex.people if not any(held_out(p, x) for x in (place, home, thing))]
            goals = tuple(v for v in lex.names["v"] if not held_out(v, place) and not held_out(v, home))
        if not heroes or not goals:
            continue
        hero = rng.choice(heroes)
        friends = [p for p in lex.people if p != hero]
        if split == "train":
            friends = [p for p in friends if not any(held_out(p, x) for x in (place, home, thing))]
        return {
            "p": hero,
            "q": rng.choice(friends),
            "h": home,
            "l": place,
            "t": thing,
            "v": rng.choice(goals),
        }


def draw(lang: Lang, split: Split, rng: Random, size: int) -> Story:
    """Draw a story of which the passage tells `size` facts, the goal among them."""
    lex = lexicon(lang)
    cast = _cast(lang, split, rng)
    p, q, v, t = cast["p"], cast["q"], cast["v"], cast["t"]
    other = {slot: rng.choice(lex.names[slot]) for slot in "foe"}
    traits = rng.sample(lex.names["a"], 2)
    good = rng.random() < 0.7
    facts = (
        Fact("trait", {"p": p, "a": traits[0]}),
        Fact("home", {"p": p, "l": cast["h"]}),
        Fact("goal", {"p": p, "v": v, "t": t}),
        Fact("where", {"t": t, "l": cast["l"]}),
        Fact("event", {"p": p, "t": t, "e": other["e"]}),
        Fact("obstacle", {"o": other["o"], "p": p}),
        Fact("help", {"q": q, "p": p}),
        Fact("trait", {"p": q, "a": traits[1]}),
        Fact("promise", {"p": p, "q": q, "f": other["f"]}),
        Fact("success" if good else "failure", {"p": p, "v": v, "t": t}),
        Fact("mood", {"p": p, "m": rng.choice(lex.good_moods if good else lex.bad_moods)}),
    )
    optional = [i for i in range(len(facts)) if i != 2]
    kept = {2, *rng.sample(optional, min(size - 1, len(optional)))}
    if 7 in kept or 8 in kept:  # the friend is introduced by helping
        kept.add(6)
    return Story(lang, p, q, facts, tuple(fact for i, fact in enumerate(facts) if i in kept))
