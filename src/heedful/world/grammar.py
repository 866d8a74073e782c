"""The world's grammar, both ways: a fact is said as a sentence, and a sentence is read back as claims.

Reading replaces every known name by its type ("Mina lived in the mill" -> "P lived in L") and looks the
rest up among the templates. What is found in no template is not understood, which the judge may count.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from heedful.types import Lang
from heedful.world.languages import lexicon
from heedful.world.lexicon import TYPE_OF, Lexicon

_SLOT = re.compile(r"\{(\w)(:o)?\}")
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s*|\n+")
_PLAIN = 0.4
_END = ".!?。！？"


@dataclass(frozen=True)
class Fact:
    """Something that is so in a story, or that a text claims: `slots` maps a slot's letter to a name."""

    kind: str
    slots: Mapping[str, str]


@dataclass(frozen=True)
class Sentence:
    """One sentence as read: its claims (empty if not understood), its names by type, and if it was ended."""

    text: str
    claims: tuple[Fact, ...]
    names: tuple[tuple[str, str], ...]
    ended: bool


def fill(lex: Lexicon, template: str, slots: Mapping[str, str], pronoun_for: str = "") -> str:
    """Fill a template's slots; the person `pronoun_for` is called by a pronoun."""

    def one(match: re.Match[str]) -> str:
        slot, is_object = match.group(1), match.group(2)
        if slot == "d":
            return lex.done[slots["v"]]
        name = slots[slot]
        if name != pronoun_for or name not in lex.people:
            return name
        subject = lex.people[name]
        return lex.object_pronouns[subject] if is_object else subject

    return _SLOT.sub(one, template)


def finish(lex: Lexicon, clause: str) -> str:
    """Make a clause a sentence: a capital at its start, a full stop at its end."""
    return clause[0].upper() + clause[1:] + lex.stop


def say(lex: Lexicon, fact: Fact, rng: Random | None = None, pronoun_for: str = "") -> str:
    """Say a fact as a clause: in the plainest wording, or in one drawn by `rng`, often the plainest too."""
    templates = lex.templates[fact.kind]
    drawn = templates[0] if rng is None or rng.random() < _PLAIN else rng.choice(templates)
    return fill(lex, drawn, fact.slots, pronoun_for)


def tell(
    lex: Lexicon, facts: Sequence[Fact], hero: str, rng: Random, joined: float = 0.25, begins: bool = True
) -> str:
    """Tell facts in their order as sentences; some share a sentence, and the hero is at times a pronoun.

    `joined` is the share of sentences that hold two facts; `begins` says that the story begins here.
    """
    sentences: list[str] = []
    clauses: list[str] = []
    known = False  # a pronoun may stand where the sentence before named no person but the hero
    for fact in facts:
        alone = {name for name in fact.slots.values() if name in lex.people} <= {hero}
        pronoun_for = hero if known and alone and rng.random() < 0.4 else ""
        clause = say(lex, fact, rng, pronoun_for)
        if clauses and len(clauses) < 2 and rng.random() < joined:
            clauses.append(clause)
        else:
            if clauses:
                sentences.append(finish(lex, lex.joints[0].join(clauses)))
            opener = rng.choice(lex.openers["first" if begins and not sentences else fact.kind])
            clauses = [f"{opener}{lex.word_space}{clause}" if opener else clause]
        known = alone and hero in fact.slots.values()
    sentences.append(finish(lex, lex.joints[0].join(clauses)))
    return lex.space.join(sentences)


class Reader:
    """Reads text of one language back into claims."""

    def __init__(self, lex: Lexicon) -> None:
        self.lex = lex
        self.values: dict[str, tuple[str, str]] = {}
        for kind, names in lex.by_type.items():
            self.values |= {lex.bare_name(name).lower(): (kind, name) for name in names}
        for pronoun, as_object in lex.object_pronouns.items():
            self.values |= {pronoun: ("p", pronoun), as_object: ("p", pronoun)}
        self.values |= {done: ("d", plain) for plain, done in lex.done.items()}
        forms = "|".join(re.escape(form) for form in sorted(self.values, key=len, reverse=True))
        edge = r"\b" if lex.space else ""
        self.name = re.compile(rf"{lex.article}{edge}({forms}){edge}")
        self.patterns: dict[str, tuple[str, tuple[str, ...]]] = {}
        for kind, templates in {**lex.templates, **lex.said}.items():
            for template in templates:
                self._learn(kind, template)
        openers = {opener for group in lex.openers.values() for opener in group if opener}
        self.openers = tuple(sorted(openers, key=len, reverse=True))

    def pattern(self, template: str) -> str:
        """What remains of a template, as of a text, when each name is replaced by its type."""
        typed = _SLOT.sub(lambda m: (m[1] if m[1] == "d" else TYPE_OF[m[1]]).upper(), template.lower())
        return re.sub(rf"{self.lex.article}([A-Z])", r"\1", typed)

    def _learn(self, kind: str, template: str) -> None:
        slots = tuple(slot for slot, _ in _SLOT.findall(template))
        self.patterns.setdefault(self.pattern(template), (kind, slots))

    def _delex(self, text: str) -> tuple[str, list[tuple[str, str]]]:
        found: list[tuple[str, str]] = []

        def one(match: re.Match[str]) -> str:
            kind, name = self.values[match.group(1)]
            found.append(("v" if kind == "d" else kind, name))
            return kind.upper()

        return self.name.sub(one, text.lower()), found

    def _claim(self, clause: str) -> Fact | None:
        pattern, found = self._delex(clause.strip())
        for opener in ("", *self.openers):
            rest = pattern.removeprefix(opener).lstrip(" ,，") if pattern.startswith(opener) else ""
            if rest in self.patterns:
                kind, slots = self.patterns[rest]
                named = zip(("v" if slot == "d" else slot for slot in slots), found, strict=True)
                return Fact(kind, {slot: name for slot, (_, name) in named})
        return None

    def _claims(self, text: str) -> tuple[Fact, ...]:
        whole = self._claim(text)
        if whole:
            return (whole,)
        for joint in self.lex.joints:
            parts = [self._claim(part) for part in text.split(joint)]
            if len(parts) > 1 and all(parts):
                return tuple(part for part in parts if part)
        return ()

    def read(self, text: str) -> tuple[Sentence, ...]:
        """Read a text sentence by sentence."""
        sentences = [part.strip() for part in _SENTENCE.split(text)]
        return tuple(self._sentence(part) for part in sentences if part)

    def _sentence(self, text: str) -> Sentence:
        body = text.rstrip(_END + " ")
        names = tuple(self._delex(body)[1])
        return Sentence(text, self._claims(body), names, ended=text[-1] in _END)


@lru_cache
def reader(lang: Lang) -> Reader:
    """The reader of a language."""
    return Reader(lexicon(lang))


def holds(claim: Fact, facts: Iterable[Fact]) -> bool:
    """Whether a claim, which may leave slots open, is one of the facts."""
    return any(
        fact.kind == claim.kind and all(fact.slots.get(slot) == name for slot, name in claim.slots.items())
        for fact in facts
    )
