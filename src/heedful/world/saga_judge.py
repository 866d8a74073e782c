"""The gold judge of long stories: reads any text back into events and counts what speaks against what was told."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from heedful.types import Lang
from heedful.world.languages import lexicon
from heedful.world.saga import Event, State, happened
from heedful.world.saga_words import KINDS, SAYINGS

_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]?")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a story's text says against itself.

    `contradictions` are sentences by number with the reason; `strangers` are sentences about people or things that
    nobody introduced, and `unread` those that are no sentence of the world: both are counted apart. `checked` are the
    others but for the refrain: sentences that could have spoken against the story.
    """

    sentences: int
    words: int
    contradictions: tuple[tuple[int, str], ...]
    strangers: int
    unread: int
    checked: int


@lru_cache
def _patterns(lang: Lang) -> tuple[tuple[re.Pattern[str], str], ...]:
    names = lexicon(lang).by_type
    kinds = {"p": "p", "q": "p", "l": "l", "t": "t", "o": "o"}
    found = []
    for style in SAYINGS[lang].styles.values():
        for kind, clause in style.items():
            pattern = re.escape(clause)
            for slot in KINDS[kind]:
                forms = "|".join(map(re.escape, sorted(names[kinds[slot]], key=len, reverse=True)))
                pattern = pattern.replace(re.escape(f"{{{slot}}}"), f"(?P<{slot}>{forms})")
            found.append((re.compile(pattern, re.IGNORECASE), kind))
    return tuple(found)


@lru_cache
def _spelling(lang: Lang) -> Mapping[str, str]:
    return {name.lower(): name for group in lexicon(lang).by_type.values() for name in group}


def read(lang: Lang, text: str) -> list[Event | None]:
    """The event of each sentence, None where it is no sentence of the world."""
    return [_event(lang, s) for match in _SENTENCE.finditer(text) if (s := match[0].strip(" .!?。！？"))]


def _event(lang: Lang, sentence: str) -> Event | None:
    for pattern, kind in _patterns(lang):
        found = pattern.fullmatch(sentence)
        if found is not None:
            return Event(kind, {slot: _spelling(lang)[n.lower()] for slot, n in found.groupdict().items()})
    return None


def judge(state: State, passages: Sequence[str]) -> Verdict:
    """Follow a story from how it began: what each sentence says is set against all that was told before it."""
    found: list[tuple[int, str]] = []
    number = strangers = unread = checked = words = 0
    for text in passages:
        words += lexicon(state.lang).length(text)
        for event in read(state.lang, text):
            if event is None:
                unread += 1
            elif not _introduced(state, event):
                strangers += 1
            else:
                checked += event.kind != "came"
                why = against(state, event)
                if why:
                    found.append((number, why))
                elif event.kind in ("go", "put", "die"):
                    state = happened(state, event)
            number += 1
    return Verdict(number, words, tuple(found), strangers, unread, checked)


def _introduced(state: State, event: Event) -> bool:
    """Whether everyone and everything in an event is in the story; places may be new."""
    people = all(event.slots.get(slot, "") in ("", *state.people) for slot in "pq")
    return people and event.slots.get("t", "") in ("", *state.things)


def against(state: State, event: Event) -> str:
    """Why an event cannot be, or "" if it can."""
    slots, kind = event.slots, event.kind
    who = slots.get("p", "")
    if kind == "mourn":
        return f"{who} is alive" if state.people[who] else ""
    if kind != "recall":
        for name in (who, slots.get("q", "")):
            if name and not state.people[name]:
                return f"{name} is dead"
    if kind in ("go", "put") and slots["l"] == state.closed:
        return f"{state.closed} is closed"
    if kind == "see" and state.people[who] != slots["l"]:
        return f"{who} is in {state.people[who]}"
    if kind == "find" and state.things[slots["t"]] != slots["l"]:
        return f"{slots['t']} is in {state.things[slots['t']]}"
    if kind == "recall" and state.homes.get(who, slots["l"]) != slots["l"]:
        return f"{who} comes from {state.homes[who]}"
    if kind == "want" and state.wishes.get(who, slots["t"]) != slots["t"]:
        return f"{who} wants {state.wishes[who]}"
    if kind == "came" and slots["o"] != state.refrain:
        return f"every passage begins with {state.refrain}"
    return ""
