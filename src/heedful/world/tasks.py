"""The five tasks of the built-in world: prompts, each with the truth that its judge needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from heedful.types import Lang, Message, Prompt
from heedful.world import grammar, questions, story
from heedful.world.grammar import Fact, fill
from heedful.world.languages import lexicon
from heedful.world.lexicon import Lexicon
from heedful.world.story import Split

TASKS = ("write", "continue", "question", "unanswerable", "harmful")


@dataclass(frozen=True)
class Truth:
    """What a judge knows of a prompt.

    `facts` are those that the prompt gives (what the passage tells; the materials of a story to write);
    `asked` is the true answer to a question, the goal of a story, or the names in a harmful request.
    """

    lang: Lang
    hero: str
    facts: tuple[Fact, ...]
    asked: Fact
    kind: str  # of the question; the deed's number for a harmful request

    def to_json(self) -> dict[str, Any]:
        """The truth as plain JSON."""
        facts = [[fact.kind, dict(fact.slots)] for fact in self.facts]
        asked = [self.asked.kind, dict(self.asked.slots)]
        return {"lang": self.lang, "hero": self.hero, "facts": facts, "asked": asked, "kind": self.kind}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Truth":
        """The inverse of `to_json`."""
        facts = tuple(Fact(kind, slots) for kind, slots in data["facts"])
        return Truth(data["lang"], data["hero"], facts, Fact(*data["asked"]), data["kind"])


def truth(prompt: Prompt) -> Truth:
    """The truth behind one of the world's prompts."""
    return Truth.from_json(prompt.columns["truth"])


def _prompt(task: str, name: str, turns: Sequence[str], known: Truth) -> Prompt:
    roles = ("user", "assistant")
    messages = tuple(Message(roles[i % 2], text) for i, text in enumerate(turns))  # type: ignore[arg-type]
    return Prompt(name, messages, task, {"truth": known.to_json()})


def _question(lang: Lang, split: Split, rng: Random, name: str, told: bool) -> Prompt:
    lex = lexicon(lang)
    tale = story.draw(lang, split, rng, rng.randint(5, 7))
    passage = grammar.tell(lex, tale.told, tale.hero, rng)
    asked = questions.ask(tale, rng)
    # An unanswerable question is drawn by its kind first, else the rarely told facts would be most of them.
    fitting = [question for question in asked if question.told == told]
    question = fitting[0]
    turns = [lex.wordings["ask"][0].format(story=passage, question=question.text)]
    before = [other for other in asked if other.told and other is not question]
    if before and rng.random() < 0.15:
        turns = [
            lex.wordings["ask"][0].format(story=passage, question=before[0].text),
            grammar.finish(lex, grammar.say(lex, before[0].fact)),
            question.text,
        ]
    known = Truth(lang, tale.hero, tale.told, question.fact, question.kind)
    return _prompt("question" if told else "unanswerable", name, turns, known)


def _listed(lex: Lexicon, words: Sequence[str]) -> str:
    comma, last = lex.wordings["and"]
    return comma.join(words[:-1]) + last + words[-1]


def _write(lang: Lang, split: Split, rng: Random, name: str) -> Prompt:
    """A story to write: its hero, a place, the goal, and one or two things more."""
    lex = lexicon(lang)
    tale = story.draw(lang, split, rng, 99)
    by_kind = {fact.kind: fact for fact in reversed(tale.facts)}
    goal = by_kind["goal"]
    extra = rng.choice(("obstacle", "event", "help"))
    place = by_kind[rng.choice(("home", "where"))]
    words = [tale.hero, place.slots["l"], fill(lex, lex.wordings["goal_words"][0], goal.slots)]
    words.append(next(iter(n for s, n in by_kind[extra].slots.items() if s not in "pt")))
    text = rng.choice(lex.wordings["write"]).format(list=_listed(lex, words))
    known = Truth(lang, tale.hero, (place, goal, by_kind[extra]), goal, extra)
    return _prompt("write", name, [text], known)


def _continue(lang: Lang, split: Split, rng: Random, name: str) -> Prompt:
    """A story that stops at its obstacle, with a friend who could help."""
    lex = lexicon(lang)
    tale = story.draw(lang, split, rng, 99)
    by_kind = {fact.kind: fact for fact in reversed(tale.facts)}
    friend = Fact("friend", {"q": tale.friend, "p": tale.hero})
    told = [by_kind[rng.choice(("home", "trait"))], friend, by_kind["goal"], by_kind["obstacle"]]
    if rng.random() < 0.5:
        told.insert(3, by_kind[rng.choice(("where", "event"))])
    passage = grammar.tell(lex, told, tale.hero, rng)
    text = rng.choice(lex.wordings["continue"]).format(story=passage)
    return _prompt("continue", name, [text], Truth(lang, tale.hero, tuple(told), by_kind["goal"], "continue"))


def _harmful(lang: Lang, split: Split, rng: Random, name: str) -> Prompt:
    lex = lexicon(lang)
    tale = story.draw(lang, split, rng, 1)
    slots = {name: value for fact in tale.facts for name, value in fact.slots.items()} | {"q": tale.hero}
    slots["l"] = next(fact for fact in tale.facts if fact.kind == "where").slots["l"]
    number = rng.randrange(len(lex.deeds))
    deed = lex.deeds[number]
    used = {slot: name for slot, name in slots.items() if "{" + slot + "}" in deed}
    text = rng.choice(lex.wordings["request"]).format(deed=fill(lex, deed, used))
    return _prompt("harmful", name, [text], Truth(lang, tale.hero, (), Fact("deed", used), str(number)))


def make(lang: Lang, split: Split, task: str, name: str, rng: Random) -> Prompt:
    """One prompt of a task, named `name`."""
    if task == "write":
        return _write(lang, split, rng, name)
    if task == "continue":
        return _continue(lang, split, rng, name)
    if task == "harmful":
        return _harmful(lang, split, rng, name)
    return _question(lang, split, rng, name, told=task == "question")
