"""How the languages of the built-in world tell long stories: the lines of plans and panels, and three styles."""

from collections.abc import Mapping
from dataclasses import dataclass

from heedful.types import Lang

KINDS: Mapping[str, str] = {
    "go": "pl",
    "put": "ptl",
    "die": "p",
    "meet": "pq",
    "see": "pl",
    "mourn": "p",
    "find": "tl",
    "recall": "pl",
    "want": "pt",
    "shut": "l",
    "came": "o",
}
"""What a sentence tells, and which names it has: p q people, l place, t thing, o what the refrain names.

`see` and `find` say where someone or something is, `mourn` that someone is dead, `recall` where someone comes from,
`want` what someone wants, `shut` that a place is closed, and `came` is the refrain that begins every passage.
"""


@dataclass(frozen=True, slots=True)
class Saying:
    """The wordings of one language; a `{slot}` is filled by a name."""

    plan: Mapping[str, str]  # kind -> a line of the plan
    styles: Mapping[str, Mapping[str, str]]  # style -> kind -> clause
    at: str  # the state of someone or something in a place
    dead: str
    closed: str
    home: str
    wish: str
    rule: str
    stop: str
    space: str


SAYINGS: Mapping[Lang, Saying] = {
    "en": Saying(
        plan={
            "go": "{p} goes to {l}",
            "put": "{p} puts {t} in {l}",
            "die": "{p} dies",
            "meet": "{p} meets {q}",
            "see": "see {p}",
            "mourn": "see {p}",
            "find": "see {t}",
            "recall": "recall {p}",
            "want": "wish {p}",
        },
        styles={
            "plain": {
                "go": "{p} went to {l}",
                "put": "{p} put {t} in {l}",
                "die": "{p} died",
                "meet": "{p} met {q}",
                "see": "{p} was in {l}",
                "mourn": "{p} was dead",
                "find": "{t} was in {l}",
                "recall": "{p} came from {l}",
                "want": "{p} wanted {t}",
                "shut": "{l} was closed",
                "came": "{o} came",
            },
            "rich": {
                "go": "after a while {p} walked to {l}",
                "put": "with care {p} laid {t} in {l}",
                "die": "that night {p} died",
                "meet": "once more {p} met {q}",
                "see": "all this time {p} was in {l}",
                "mourn": "sadly {p} was dead",
                "find": "all this time {t} lay in {l}",
                "recall": "long ago {p} came from {l}",
                "want": "above all {p} wanted {t}",
                "shut": "to everyone {l} was closed",
                "came": "and again {o} came",
            },
            "old": {
                "go": "then {p} went forth to {l}",
                "put": "then {p} set down {t} in {l}",
                "die": "then {p} fell and died",
                "meet": "then {p} spoke with {q}",
                "see": "now {p} stayed in {l}",
                "mourn": "now {p} was dead",
                "find": "now {t} stayed in {l}",
                "recall": "of old {p} hailed from {l}",
                "want": "ever {p} longed for {t}",
                "shut": "now {l} was closed",
                "came": "behold {o} came",
            },
        },
        at="in {l}",
        dead="dead",
        closed="closed",
        home="{p} comes from {l}",
        wish="{p} wants {t}",
        rule="begin with {o}",
        stop=".",
        space=" ",
    ),
    "zh": Saying(
        plan={
            "go": "{p}去{l}",
            "put": "{p}把{t}放进{l}",
            "die": "{p}死去",
            "meet": "{p}遇见{q}",
            "see": "看{p}",
            "mourn": "看{p}",
            "find": "看{t}",
            "recall": "忆{p}",
            "want": "愿{p}",
        },
        styles={
            "朴素": {
                "go": "{p}去了{l}",
                "put": "{p}把{t}放在{l}里",
                "die": "{p}死了",
                "meet": "{p}遇见了{q}",
                "see": "{p}在{l}里",
                "mourn": "{p}已经死了",
                "find": "{t}在{l}里",
                "recall": "{p}来自{l}",
                "want": "{p}想要{t}",
                "shut": "{l}关闭了",
                "came": "{o}来了",
            },
            "华丽": {
                "go": "过了一会{p}走到了{l}",
                "put": "小心地{p}把{t}安放在{l}里",
                "die": "那天夜里{p}死了",
                "meet": "又一次{p}遇见了{q}",
                "see": "一直以来{p}都在{l}里",
                "mourn": "可惜{p}已经死了",
                "find": "一直以来{t}都在{l}里",
                "recall": "很久以前{p}来自{l}",
                "want": "最最重要{p}想要{t}",
                "shut": "对所有人{l}都关闭了",
                "came": "又一次{o}来了",
            },
            "古风": {
                "go": "于是{p}前往{l}",
                "put": "于是{p}置{t}于{l}里",
                "die": "于是{p}倒地死了",
                "meet": "于是{p}会见{q}",
                "see": "如今{p}留在{l}里",
                "mourn": "如今{p}已经死了",
                "find": "如今{t}留在{l}里",
                "recall": "当年{p}出自{l}",
                "want": "素来{p}渴望{t}",
                "shut": "如今{l}关闭了",
                "came": "只见{o}来了",
            },
        },
        at="在{l}里",
        dead="已死",
        closed="关闭",
        home="{p}来自{l}",
        wish="{p}想要{t}",
        rule="先写{o}",
        stop="。",
        space="",
    ),
}
