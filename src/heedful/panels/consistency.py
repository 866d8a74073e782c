"""Whether a panel agrees with itself, and where a text speaks against it, by rules that need no model.

The rules are narrow on purpose: what they mark is worth a look, and what they leave unmarked may still be wrong.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from heedful.panels.panel import NAMED, Field, Panel
from heedful.types import Lang

DEAD: dict[Lang, re.Pattern[str]] = {
    "en": re.compile(r"\b(?:dead|died|killed|deceased)\b", re.IGNORECASE),
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
_PAST: dict[Lang, re.Pattern[str]] = {  # what stays true of the dead
    "en": re.compile(r"\b(?:(?:comes?|came|hail(?:s|ed)) from|had been|used to|was born)\b", re.I),
    "zh": re.compile("来自|出自|曾|生于"),
}
_STATE: dict[Lang, re.Pattern[str]] = {
    "en": re.compile(r"^(?:in|at|with|inside) (?P<where>.+)$", re.IGNORECASE),
    "zh": re.compile("^在(?P<where>.+?)里?$"),
}
_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]*")


@dataclass(frozen=True, slots=True)
class Mark:
    """A stretch of a text that speaks against the panel: where, and why."""

    start: int
    end: int
    why: str


def contradictions(panel: Panel) -> list[str]:
    """What a panel says against itself, a sentence each."""
    found = []
    for field in NAMED:
        states: dict[str, str] = {}
        for entry in panel.entries(field):
            if entry.name in states and states[entry.name] != entry.state:
                found.append(f"'{entry.name}' is both '{states[entry.name]}' and '{entry.state}' in {field}")
            states.setdefault(entry.name, entry.state)
    homes: dict[str, Field] = {}
    for field in NAMED:
        for entry in panel.entries(field):
            if homes.setdefault(entry.name, field) != field:
                found.append(f"'{entry.name}' stands in {homes[entry.name]} and in {field}")
    for name in dead(panel):
        found += [f"'{name}' is dead, but the plan is '{line}'" for line in panel.plan if _acts(name, line)]
    for name in shut(panel):
        found += [f"'{name}' is closed, but the plan is '{line}'" for line in panel.plan if _has(name, line)]
    return list(dict.fromkeys(found))


def dead(panel: Panel) -> list[str]:
    """The people whose state says that they are dead."""
    return [e.name for e in panel.people if DEAD[panel.lang].search(e.state)]


def shut(panel: Panel) -> list[str]:
    """The places whose state says that nobody can be there."""
    return [e.name for e in panel.places if CLOSED[panel.lang].search(e.state)]


def marks(panel: Panel, passage: str) -> list[Mark]:
    """Sentences in which the dead act, a closed place is used, or someone or something is elsewhere.

    `panel` is that before the passage: who moves within the passage is not marked for it afterwards.
    """
    found: list[Mark] = []
    moved: set[str] = set()
    for match in _SENTENCE.finditer(passage):
        sentence = match[0]
        for why in _against(panel, sentence, moved):
            found.append(Mark(match.start() + len(sentence) - len(sentence.lstrip()), match.end(), why))
        if not _IN[panel.lang].search(sentence):
            moved |= {
                e.name for f in ("people", "things") for e in panel.entries(f) if _has(e.name, sentence)
            }
    return found


def _against(panel: Panel, sentence: str, moved: set[str]) -> Iterator[str]:
    for name in dead(panel):
        alive = not DEAD[panel.lang].search(sentence) and not _PAST[panel.lang].search(sentence)
        if alive and _acts(name, sentence):
            yield f"{name} is dead"
    for name in shut(panel):
        entered = re.search(_ENTERS[panel.lang] + re.escape(name), sentence, re.IGNORECASE)
        if entered and not CLOSED[panel.lang].search(sentence):
            yield f"{name} is closed"
    said = _IN[panel.lang].search(sentence)
    if said is None:
        return
    for entry in (*panel.people, *panel.things):
        known = _STATE[panel.lang].search(entry.state)
        subject = _acts(entry.name, sentence) or _ends(entry.name, sentence[: said.start()])
        if known is None or entry.name in moved or not subject:
            continue
        if known["where"].lower() not in said["where"].lower():
            yield f"{entry.name} is {entry.state}"


def least(panel: Panel, drafts: Sequence[str]) -> str:
    """The draft of a passage in which the fewest sentences are marked; of equal ones the first."""
    return min(drafts, key=lambda text: len(marks(panel, text)))


def _ends(name: str, start: str) -> bool:
    """Whether the start of a sentence, before its verb, ends with the name: "all this time Mina"."""
    return start.lower().rstrip().endswith(f" {name.lower()}")


def _has(name: str, sentence: str) -> bool:
    edge = r"\b" if name[0].isascii() else ""
    return re.search(rf"{edge}{re.escape(name)}{edge}", sentence, re.IGNORECASE) is not None


def _acts(name: str, sentence: str) -> bool:
    """Whether a sentence begins with the name, and so is about what that one does or is."""
    return (
        re.match(rf"\W*{re.escape(name)}(?!\w)" if name[0].isascii() else re.escape(name), sentence, re.I)
        is not None
    )
