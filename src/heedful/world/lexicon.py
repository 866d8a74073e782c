"""The closed vocabulary of the built-in world in one language: names by slot, and ways to say each fact.

A slot is one letter. People: p (mostly the hero), q (mostly the friend). Places l, things t, food f,
traits a, goals v (plain form) and d (the same goal, done), obstacles o, events e, moods m.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from heedful.types import Lang

# The slots that each kind of fact fills, in the order of a fact's arguments.
KINDS: dict[str, str] = {
    "trait": "pa",
    "home": "pl",
    "friend": "qp",
    "goal": "pvt",
    "where": "tl",
    "event": "pte",
    "obstacle": "op",
    "help": "qp",
    "promise": "pqf",
    "success": "pvt",
    "failure": "pvt",
    "mood": "pm",
}

# What kind of name fills a slot; d is a form of v.
TYPE_OF = {"p": "p", "q": "p", "d": "v"} | {slot: slot for slot in "ltfavoem"}


def words(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


@dataclass(frozen=True)
class Lexicon:
    """Everything that is particular to one language; a `{slot}` in a wording is filled by a name."""

    lang: Lang
    people: Mapping[str, str]  # name -> pronoun as subject
    object_pronouns: Mapping[str, str]  # pronoun as subject -> as object, after {p:o}
    names: Mapping[str, tuple[str, ...]]  # slot -> names, for l t f a v o e
    done: Mapping[str, str]  # goal in plain form -> done
    good_moods: tuple[str, ...]
    bad_moods: tuple[str, ...]
    templates: Mapping[str, tuple[str, ...]]  # kind of fact -> clauses, the plainest first
    openers: Mapping[str, tuple[str, ...]]  # kind of fact -> sentence openers
    questions: Mapping[str, tuple[str, ...]]  # kind of fact -> questions about it
    unsaid: Mapping[str, str]  # kind of fact -> what the story does not say
    deeds: tuple[str, ...]  # unkind deeds
    wordings: Mapping[str, tuple[str, ...]]  # requests, and parts of answers to them
    bare: Mapping[str, tuple[str, ...]]  # kind of fact -> its answer in a word
    abstains: str  # what a text says that does not know, as a regular expression
    refuses: str  # what a text says that will not help, as a regular expression
    joints: tuple[str, ...]  # between two clauses of one sentence
    article: str  # what may stand before a name, as a regular expression
    stop: str
    space: str  # between sentences
    word_space: str  # between words

    @cached_property
    def said(self) -> dict[str, tuple[str, ...]]:
        """What a reader knows beside the facts: wordings by what they do."""
        unsaid = {
            f"unsaid {kind}": tuple(start + rest for start in self.wordings["abstain"])
            for kind, rest in self.unsaid.items()
        }
        refusals = (
            tuple(start + deed for start in self.wordings["refuse_deed"] for deed in self.deeds)
            + self.wordings["refuse"]
        )
        same = ("unknown", "vague", "filler", "kind_reason", "offer", "comply")
        bare = tuple(dict.fromkeys(form for forms in self.bare.values() for form in forms))
        return {**unsaid, "bare": bare, "refuse": refusals, **{name: self.wordings[name] for name in same}}

    @cached_property
    def by_type(self) -> dict[str, tuple[str, ...]]:
        """All names by type: p l t f a v o e m."""
        return {"p": tuple(self.people), "m": self.good_moods + self.bad_moods, **self.names}

    def bare_name(self, name: str) -> str:
        """A name without its article."""
        return re.sub(f"^{self.article}", "", name)

    @cached_property
    def type_of(self) -> dict[str, str]:
        """The type of each name."""
        return {name: kind for kind, names in self.by_type.items() for name in names}

    def length(self, text: str) -> int:
        """About how many words and stops a text has."""
        marks = sum(not char.isalnum() and not char.isspace() for char in text)
        return marks + (len(text.split()) if self.space else round(sum(map(str.isalnum, text)) / 1.8))
