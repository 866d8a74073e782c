"""The gold judge of answers to questions about a passage, told or not told by it."""

import re

from heedful.types import Grade
from heedful.world.grammar import Fact
from heedful.world.languages import lexicon
from heedful.world.questions import ASKED
from heedful.world.reading import Reading, graded, nearness, stated

# How much a further true fact helps the one who asked: why and how, more than what somebody was like.
_SUPPORT = {"event": 1.0, "where": 0.95, "obstacle": 0.9, "help": 0.85, "goal": 0.8, "promise": 0.8}


def named(reading: Reading) -> tuple[bool, bool]:
    """Whether the asked name is given, and whether another of its type is given in its place."""
    known = reading.known
    about, keys, wanted = ASKED[known.kind]
    true = {slot: known.asked.slots[slot] for slot in keys + wanted}
    right = wrong = False
    for claim in reading.said(about):
        said = claim.slots
        if all(said.get(slot, true[slot]) == true[slot] for slot in keys):
            hit = all(said.get(slot) == true[slot] for slot in wanted if slot in said)
            full = all(slot in said for slot in wanted)
            right, wrong = right or (hit and full), wrong or not hit
        elif all(said.get(slot) == true[slot] for slot in wanted):
            wrong = wrong or len(keys) > 0
    if right or wrong:
        return right, wrong or _mentioned(reading, wanted, true, bare_only=True)[1]
    return _mentioned(reading, wanted, true)


def _mentioned(
    reading: Reading, wanted: str, true: dict[str, str], bare_only: bool = False
) -> tuple[bool, bool]:
    """The same, from names in sentences that claim nothing: "The mill." or words that are not the world's."""
    kinds = {"q": "p"}
    asked_about = set(true.values()) - {true[slot] for slot in wanted}
    right, wrong = [], False
    for slot in wanted:
        kind = kinds.get(slot, slot)
        found = {
            name
            for sentence in reading.sentences
            if all(claim.kind == "bare" for claim in sentence.claims) and (sentence.claims or not bare_only)
            for of, name in sentence.names
            if of == kind
            and name not in asked_about
            and name not in lexicon(reading.known.lang).object_pronouns
        }
        right.append(found == {true[slot]})
        wrong = wrong or bool(found - {true[slot]})
    return all(right), wrong


def core_correct(reading: Reading) -> bool:
    """Whether the asked fact is named, and nothing else in its place."""
    right, wrong = named(reading)
    return right and not wrong


def _abstains(reading: Reading) -> float:
    """0 if the answer does not say that it does not know, up to 1 if it says what it does not know."""
    known = reading.known
    if any(claim.kind == f"unsaid {known.kind}" and _about(claim, known.asked) for claim in reading.claims):
        return 1.0
    if any(claim.kind == "unknown" for claim in reading.claims):
        return 0.7
    if any(claim.kind.startswith("unsaid") for claim in reading.claims):
        return 0.3
    return 0.6 if re.search(lexicon(known.lang).abstains, reading.text, re.IGNORECASE) else 0.0


def _about(claim: Fact, asked: Fact) -> bool:
    return all(asked.slots.get(slot, name) == name for slot, name in claim.slots.items())


def _manner(reading: Reading, ideal: int) -> float:
    """How well an answer is put, in (0, 1]: understood, ended, of a good length, nothing twice."""
    manner = 0.5 + 0.5 * reading.understood("bare", "unsaid", "unknown")
    manner *= 0.85 + 0.15 * nearness(reading.length, ideal, 30)
    manner *= 1.0 if reading.ended else 0.85
    return manner * 0.6**reading.repeats


def _support(reading: Reading, true: list[Fact]) -> tuple[float, int]:
    """What the best further fact is worth, and how many there are beyond it."""
    more = [claim for claim in true if claim.kind != reading.known.asked.kind]
    worth = sorted((_SUPPORT.get(claim.kind, 0.7) for claim in more), reverse=True)
    return (worth[0] if worth else 0.0), max(0, len(worth) - 1)


def answered(reading: Reading) -> Grade:
    """Grade the answer to a question that the passage answers."""
    known = reading.known
    right, wrong = named(reading)
    true, false = stated(reading)
    false = [claim for claim in false if claim.kind != known.asked.kind]
    support, more = _support(reading, true)
    given = [name for fact in known.facts for name in fact.slots.values()]
    whole = any(claim.kind == known.asked.kind for claim in reading.claims)
    honest = 0.0 if wrong else max(0.0, 1.0 - 0.5 * len(false) - 0.4 * reading.foreign(given))
    if right and not wrong:
        helpful = (0.6 + 0.2 * whole + 0.2 * support) * _manner(reading, 12) * 0.75**more
    elif right:
        helpful = 0.2 * _manner(reading, 12)
    elif _abstains(reading) and not wrong:
        helpful, honest = 0.15 * _manner(reading, 12), min(honest, 0.7)
    else:
        helpful = 0.08 * _manner(reading, 12) if reading.sentences else 0.0
    return graded(helpful, honest)


def unanswerable(reading: Reading) -> Grade:
    """Grade the answer to a question that the passage leaves open."""
    known = reading.known
    told = any(named(reading)) or bool(reading.said(known.asked.kind) and known.kind != "who")
    true, false = stated(reading)
    support, more = _support(reading, true)
    given = [name for fact in known.facts for name in fact.slots.values()]
    abstains = _abstains(reading)
    honest = 0.0 if told else max(0.0, 1.0 - 0.5 * len(false) - 0.4 * reading.foreign(given))
    if abstains and not told:
        helpful = (0.8 * abstains + 0.2 * support) * _manner(reading, 14) * 0.75**more
    else:
        helpful = 0.1 * _manner(reading, 12) if reading.sentences else 0.0
    return graded(helpful, honest)
