"""What a model is asked about a panel, as dialogues: write the passage, say what changed, plan the next passage.

Write and update are turns of one dialogue, so that the panel is computed once for both:

    user       the panel, and "Write the passage."
    assistant  the passage
    user       "What has changed?"
    assistant  a patch (`changes.patch`)

The panel after is asked for in two parts, P(state) P(plan | state): the plan has a dialogue of its own, which begins
with the panel without a plan, so that several plans can be drawn for one state, and edited, before anything is
written. A model that was not trained on panels is told the form by a system message (`explained`).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from heedful.panels import changes, text
from heedful.panels.panel import FIELDS, Panel
from heedful.types import Lang, Message

STATE = tuple(field for field in FIELDS if field != "plan")
"""What an update may change; the plan is asked for by itself."""


@dataclass(frozen=True, slots=True)
class Asking:
    """The questions in one language."""

    write: str
    update: str
    plan: str
    begin: str
    explain: str
    best: str


ASKING: dict[Lang, Asking] = {
    "en": Asking(
        "Write the passage.",
        "What has changed?",
        "What comes next?",
        "What does it begin from?",
        "You write a long text step by step from a panel: lines that begin with one of {fields}. When asked to write, "
        "answer with the next passage alone: it tells the plan, in order, and agrees with every other line. When "
        "asked what has changed, answer with lines of the panel alone: each person, place and thing whose state is "
        "new or different as 'person NAME: STATE', new facts to remember as 'memory FACT', and what has just "
        "happened as 'lately FACT'; write 'drop' before a line that no longer holds. When asked what comes next, "
        "answer with one to five lines 'plan FACT' alone. Dead people stay dead, and things stay where they were put.",
        "Which of these plans agrees with the panel and carries the story on best? Answer with its number alone.",
    ),
    "zh": Asking(
        "写这一段。",
        "有何变化？",
        "接下来呢？",
        "从何开始？",
        "你按照面板一步一步写长文。面板的每一行以下列词之一开头：{fields}。要求写作时，只写下一段，依次写出计划，"
        "并与其余各行一致。问到变化时，只写面板的行：状态有变或新出现的“人物 名字：状态”、“地点 名字：状态”、"
        "“物品 名字：状态”，要记住的“往事 内容”，刚发生的“刚才 内容”；不再成立的行前写“删去”。"
        "问到接下来时，只写一到五行“计划 内容”。死者不能复生，物品留在所放之处。",
        "这些计划中，哪一个与面板一致，又最能推进故事？只答编号。",
    ),
}


def write(panel: Panel, condition: str = "", *, explained: bool = False) -> tuple[Message, ...]:
    """Ask for the passage that the panel plans."""
    ask = ASKING[panel.lang].write
    return (*_system(panel.lang, explained), Message("user", asked(text.render(panel), ask, condition)))


def update(
    panel: Panel, passage: str, condition: str = "", *, explained: bool = False
) -> tuple[Message, ...]:
    """Ask what the passage has changed."""
    ask = Message("user", ASKING[panel.lang].update)
    return (*write(panel, condition, explained=explained), Message("assistant", passage), ask)


def plan(panel: Panel, condition: str = "", *, explained: bool = False) -> tuple[Message, ...]:
    """Ask for a plan; the panel's own is not shown."""
    ask = ASKING[panel.lang].plan
    shown = text.render(panel.without("plan"))
    return (*_system(panel.lang, explained), Message("user", asked(shown, ask, condition)))


def begin(title: str, lang: Lang, condition: str = "") -> tuple[Message, ...]:
    """Ask for the panel that a story of this title begins from. People answer it at the desk; no model is asked."""
    return (Message("user", asked(title, ASKING[lang].begin, condition)),)


def best(panel: Panel, plans: Sequence[Sequence[str]]) -> tuple[Message, ...]:
    """Ask which of several plans is the best; they are numbered from 1."""
    shown = "\n".join(f"{number}. {'; '.join(plan)}" for number, plan in enumerate(plans, 1))
    return (
        Message("user", asked(f"{text.render(panel.without('plan'))}\n{shown}", ASKING[panel.lang].best, "")),
    )


def number_in(answer: str, most: int) -> int:
    """The number from 1 to `most` that an answer names first; 1 if it names none."""
    named = (int(digits) for digits in re.findall(r"(?<!\d)[1-9](?!\d)", answer))
    return next((number for number in named if number <= most), 1)


def asked(material: str, question: str, condition: str) -> str:
    """One user message: the condition, the material and the question, those that there are."""
    head = f"[{condition}]" if condition else ""
    return "\n".join(part for part in (head, material, question) if part)


def patch_of(before: Panel, after: Panel) -> str:
    """The answer to `update`."""
    return changes.patch(before.without("plan"), after.without("plan"))


def plan_of(panel: Panel) -> str:
    """The answer to `plan`."""
    return "\n".join(text.lines(panel, "plan"))


def updated(before: Panel, answer: str, locked: Sequence[str] = ()) -> tuple[Panel, list[str]]:
    """The panel after an answer to `update`, with an empty plan, and the lines that could not be read."""
    kept = {field for field in STATE if field in locked}
    return changes.apply(before.without("plan"), answer, locked={*kept, "plan"})


def plan_lines(answer: str, lang: Lang) -> tuple[str, ...]:
    """The plan that an answer to `plan` spells; lines that are none are left out."""
    found = (text.parse_line(line, lang) for line in answer.split("\n"))
    return tuple(item for field, item in filter(None, found) if field == "plan" and isinstance(item, str))


def _system(lang: Lang, explained: bool) -> tuple[Message, ...]:
    if not explained:
        return ()
    return (
        Message("system", ASKING[lang].explain.format(fields=", ".join(text.WORDS[lang].field.values()))),
    )
