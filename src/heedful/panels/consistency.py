"""Whether a panel agrees with itself, and where a text speaks against it, by rules that need no model.

The rules are narrow on purpose: what they mark is worth a look, and what they leave unmarked may still be wrong.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from heedful.panels.panel import NAMED, Entry, Field, Panel
from heedful.panels.text import WORDS
from heedful.types import Lang

DEAD: dict[Lang, re.Pattern[str]] = {
    "en": re.compile(r"\b(?:dead|dies|died|killed|deceased)\b", re.IGNORECASE),
    "zh": re.compile("死|去世|亡"),
}
CLOSED: dict[Lang, re.Pattern[str]] = {
    "en": re.compile(r"\b(?:closed|forbidden|locked|destroyed|burnt down)\b", re.IGNORECASE),
    "zh": re.compile("关闭|禁止|毁"),
}
_IN: dict[Lang, re.Pattern[str]] = {
    "en": re.compile(
        r"\b(?:was|is|lay|lies|stood|sat|still|stayed) (?:\w+ )?(?:in|at|with|inside) (?P<where>[^.,;!?]+)",
        re.IGNORECASE,
    ),
    "zh": re.compile("^(?!.*[把置]).*?在(?P<where>[^。，；！？]+?)里"),
}
_ENTERS: dict[Lang, str] = {"en": r"\b(?:to|into|in|inside|at) ", "zh": "(?:去了?|到了?|进了?|往|在|于)"}
_WANTS: dict[Lang, str] = {
    "en": r"\b(?:wants?|wanted|long(?:s|ed) for|wish(?:es|ed) for)\b",
    "zh": "想要|渴望",
}
_IS_DEAD: dict[Lang, re.Pattern[str]] = {
    "en": re.compile(r"\b(?:was|is|were|are|lay|lies) dead\b", re.IGNORECASE),
    "zh": re.compile("已经死了|已死"),
}
_DIES: dict[Lang, re.Pattern[str]] = {
    "en": re.compile(r"(?<!had )(?<!has )\b(?:dies|died)\b", re.IGNORECASE),
    "zh": re.compile("(?<!已)(?<!已经)(?:死了|死去|去世了)"),
}
_PAST: dict[Lang, re.Pattern[str]] = {  # what stays true of the dead
    "en": re.compile(r"\b(?:(?:comes?|came|hail(?:s|ed)) from|had been|used to|was born)\b", re.I),
    "zh": re.compile("来自|出自|曾|生于"),
}
_FROM: dict[Lang, re.Pattern[str]] = {
    "en": re.compile(r"^(?P<who>.+?) (?:comes?|came|hail(?:s|ed)) from (?P<where>[^.,;!?]+)", re.IGNORECASE),
    "zh": re.compile("^(?P<who>.+?)(?:来自|出自)(?P<where>[^。，；！？]+)"),
}
_STATE: dict[Lang, re.Pattern[str]] = {
    "en": re.compile(r"^(?:in|at|with|inside) (?P<where>.+)$", re.IGNORECASE),
    "zh": re.compile("^在(?P<where>.+?)里?$"),
}
_AT: dict[Lang, str] = {"en": "in {}", "zh": "在{}里"}
_GONE: dict[Lang, str] = {"en": "dead", "zh": "已死"}
_MEETS: dict[Lang, str] = {
    "en": r"\b(?:meets?|met|(?:speaks?|spoke|talks?|talked) (?:to|with)) ",
    "zh": "(?:遇见了?|会见了?|见到了?)",
}
_OPENERS = (  # how a sentence may open before its subject
    r"(?:and|but|so|then|now|later|soon|again|next|suddenly|sadly|at last|once more|ever|after a while|with care|"
    r"above all|all this time|that (?:day|night|morning|evening)|"
    r"于是|如今|那天夜里|又一次|过了一会|小心地|可惜|素来|最最重要|一直以来)"
)
_SAYS: dict[Lang, dict[str, str]] = {
    "en": {
        "both": "'{name}' is both '{one}' and '{other}' under '{field}'",
        "twice": "'{name}' stands under '{one}' and under '{other}'",
        "dead plan": "'{name}' is dead, but the plan is '{line}'",
        "closed plan": "'{name}' is closed, but the plan is '{line}'",
        "dead": "{name} is dead",
        "closed": "{name} is closed",
        "state": "{name} is {state}",
        "in": "{name} is in {where}",
        "from": "{name} comes from {where}",
    },
    "zh": {
        "both": "“{field}”中“{name}”既是“{one}”又是“{other}”",
        "twice": "“{name}”既在“{one}”中，又在“{other}”中",
        "dead plan": "“{name}”已死，计划却是“{line}”",
        "closed plan": "“{name}”去不得，计划却是“{line}”",
        "dead": "{name}已死",
        "closed": "{name}去不得",
        "state": "{name}{state}",
        "in": "{name}在{where}",
        "from": "{name}来自{where}",
    },
}
"""What is said about a panel or a sentence, in the story's own language."""
_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]*")


@dataclass(frozen=True, slots=True)
class Mark:
    """A stretch of a text that speaks against the panel: where, and why."""

    start: int
    end: int
    why: str


def contradictions(panel: Panel) -> list[str]:
    """What a panel says against itself, a sentence each, in its own language."""
    says, words = _SAYS[panel.lang], WORDS[panel.lang].field
    found = []
    for field in NAMED:
        states: dict[str, str] = {}
        for entry in panel.entries(field):
            if entry.name in states and states[entry.name] != entry.state:
                one, other = states[entry.name], entry.state
                found.append(says["both"].format(name=entry.name, one=one, other=other, field=words[field]))
            states.setdefault(entry.name, entry.state)
    homes: dict[str, Field] = {}
    for field in NAMED:
        for entry in panel.entries(field):
            if (home := homes.setdefault(entry.name, field)) != field:
                found.append(says["twice"].format(name=entry.name, one=words[home], other=words[field]))
    for name in dead(panel):
        found += [
            says["dead plan"].format(name=name, line=line)
            for line in panel.plan
            if _acts(name, line) or _met(panel.lang, name, line)
        ]
    for name in shut(panel):
        found += [
            says["closed plan"].format(name=name, line=line) for line in panel.plan if mentioned(name, line)
        ]
    return list(dict.fromkeys(found))


def agreeing(panel: Panel, plans: Sequence[Sequence[str]]) -> int:
    """The number, from 0, of the plan that speaks least against the panel and itself; of equal ones the first."""

    def faults(plan: Sequence[str]) -> int:
        return len(contradictions(panel.with_field("plan", plan))) + len(marks(panel, "\n".join(plan)))

    return min(range(len(plans)), key=lambda number: faults(plans[number]))


def dead(panel: Panel) -> list[str]:
    """The people whose state says that they are dead."""
    return [e.name for e in panel.people if DEAD[panel.lang].search(e.state)]


def shut(panel: Panel) -> list[str]:
    """The places whose state says that nobody can be there."""
    return [e.name for e in panel.places if CLOSED[panel.lang].search(e.state)]


def marks(panel: Panel, passage: str) -> list[Mark]:
    """Sentences in which the dead act, a closed place is used, or someone or something is elsewhere.

    `panel` is that before the passage. Who is brought to a place within the passage is there from then on; who does
    anything else may be anywhere.
    """
    found: list[Mark] = []
    gone = set(dead(panel))
    where = places_of(panel)
    for match in _SENTENCE.finditer(passage):
        sentence = match[0]
        for why in _against(panel, sentence, gone, where):
            found.append(Mark(match.start() + len(sentence) - len(sentence.lstrip()), match.end(), why))
        gone, where = _followed(panel, sentence, gone, where)
    return found


def places_of(panel: Panel) -> dict[str, str]:
    """Where the panel says that people and things are, by name."""
    entries = (*panel.people, *panel.things)
    return {e.name: known["where"] for e in entries if (known := _STATE[panel.lang].search(e.state))}


def _against(panel: Panel, sentence: str, gone: Collection[str], where: Mapping[str, str]) -> Iterator[str]:
    says = _SAYS[panel.lang]
    alive = not DEAD[panel.lang].search(sentence) and not _PAST[panel.lang].search(sentence)
    dies = _DIES[panel.lang].search(sentence)
    for name in gone:
        if (_acts(name, sentence) and (alive or dies)) or (alive and _met(panel.lang, name, sentence)):
            yield says["dead"].format(name=name)
    for entry in panel.people if _IS_DEAD[panel.lang].search(sentence) else ():
        if entry.state and entry.name not in gone and _acts(entry.name, sentence):
            yield says["state"].format(name=entry.name, state=entry.state)
    for name in shut(panel):
        entered = re.search(_ENTERS[panel.lang] + re.escape(name), sentence, re.IGNORECASE)
        if entered and not CLOSED[panel.lang].search(sentence):
            yield says["closed"].format(name=name)
    yield from _not_from(panel, sentence)
    said = _IN[panel.lang].search(sentence)
    if said is None:
        return
    for name, place in where.items():
        subject = _acts(name, sentence) or _ends(name, sentence[: said.start()])
        if subject and place.lower() not in said["where"].lower():
            yield says["in"].format(name=name, where=place)


def _not_from(panel: Panel, sentence: str) -> Iterator[str]:
    """Somebody of whom it is remembered that they come from elsewhere than a sentence says."""
    said = _FROM[panel.lang].search(sentence.strip())
    for line in panel.long_memory if said else ():
        known = _FROM[panel.lang].search(line)
        if (
            said is None
            or known is None
            or not (_acts(known["who"], sentence) or _ends(known["who"], said["who"]))
        ):
            continue
        if known["where"].lower() != said["where"].lower():
            yield _SAYS[panel.lang]["from"].format(name=known["who"], where=known["where"])


def _followed(
    panel: Panel, sentence: str, gone: set[str], where: dict[str, str]
) -> tuple[set[str], dict[str, str]]:
    """Who is dead and where everyone is after a sentence; how things stand, stood or should stand changes nothing."""
    lang = panel.lang
    if _IN[lang].search(sentence) or _PAST[lang].search(sentence) or re.search(_WANTS[lang], sentence, re.I):
        return gone, where
    named = [e.name for f in ("people", "things") for e in panel.entries(f) if mentioned(e.name, sentence)]
    if DEAD[lang].search(sentence):
        gone = gone | {name for name in named if _acts(name, sentence)}
    left = {name: place for name, place in where.items() if name not in named}
    arrival = re.search(f"^.*{_ENTERS[lang]}(?P<where>[^.,;!?。，；！？]+)", sentence, re.I | re.S)
    if arrival is None or any(mentioned(name, arrival["where"]) for name in named):
        return gone, left
    before = sentence[: arrival.start("where")].lower()
    last = max(named, key=lambda name: before.rfind(name.lower()), default="")
    place = arrival["where"].strip().removesuffix("里")
    return gone, {**left, last: place} if last else left


def misread(before: Panel, passage: str, after: Panel) -> list[str]:
    """People and things that a passage brings somewhere, lets die or leaves alone, and the panel after it does not.

    Who does something that may have led anywhere is not judged, nor is anybody whom `before` does not know.
    """
    left, now, lost = _left(before, passage), places_of(after), dead(after)
    return [
        name
        for name, place in left.items()
        if (name not in lost if place is None else now.get(name, "").lower() != place.lower())
    ]


def put_right(before: Panel, passage: str, after: Panel) -> list[tuple[Field, Entry]]:
    """An entry for each of whom `misread` tells, with the state in which the passage leaves them."""
    left, lang = _left(before, passage), before.lang
    wrong = misread(before, passage, after)
    states = {
        name: _GONE[lang] if (place := left[name]) is None else _AT[lang].format(place) for name in wrong
    }
    return [
        (field, Entry(name, states[name]))
        for name in wrong
        for field in NAMED
        if any(e.name == name for e in before.entries(field))
    ]


def _left(before: Panel, passage: str) -> dict[str, str | None]:
    """Where a passage leaves everyone and everything of whom that is sure; None for the dead, who come last."""
    gone, where = set(dead(before)), places_of(before)
    for match in _SENTENCE.finditer(passage):
        gone, where = _followed(before, match[0], gone, where)
    return {**{n: place for n, place in where.items() if n not in gone}, **dict.fromkeys(sorted(gone))}


def _ends(name: str, start: str) -> bool:
    """Whether the start of a sentence, before its verb, ends with the name: "all this time Mina"."""
    return start.lower().rstrip().endswith(f" {name.lower()}") if name[0].isascii() else start.endswith(name)


def mentioned(name: str, sentence: str) -> bool:
    """Whether a text has the name, as a word of its own."""
    edge = r"\b" if name[0].isascii() else ""
    return re.search(rf"{edge}{re.escape(name)}{edge}", sentence, re.IGNORECASE) is not None


def _acts(name: str, sentence: str) -> bool:
    """Whether a sentence begins with the name, but for how sentences open, and so is about what that one does or is."""
    edge = r"(?!\w)" if name[0].isascii() else ""
    return re.match(rf"\W*(?:{_OPENERS}\W*)*{re.escape(name)}{edge}", sentence, re.IGNORECASE) is not None


def _met(lang: Lang, name: str, sentence: str) -> bool:
    """Whether a sentence tells that somebody meets the one of this name."""
    return re.search(_MEETS[lang] + re.escape(name), sentence, re.IGNORECASE) is not None
