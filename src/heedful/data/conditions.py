"""What quality is asked for, as part of the chat template: whoever renders a dialogue with it asks for the same.

A conditioned template wraps any other. It knows its conditions, worst first, and writes one of them in front of every
answer: the best, unless the variable `condition` says otherwise. So a program that knows nothing of conditions gets
the best answers, and `apply_chat_template(..., condition=...)` or `ask` gets another.
"""

import json
import re
from collections.abc import Sequence
from typing import Literal

from heedful.data.template import ChatTokenizer
from heedful.errors import UserError, nearest

Kind = Literal["prefix", "points", "reward_tokens", "hindsight", "c_rlft"]
TWO = {
    "prefix": ("A poor answer:\n", "A good answer:\n"),
    "hindsight": ("An unhelpful answer:\n", "A helpful answer:\n"),
    "c_rlft": ("Ordinary: ", "Expert: "),
}
_KNOWN = re.compile(r"\{%- set heedful_conditions = (\[.*?\]) -%\}")
_ASKED = re.compile(r"^\{%- set condition = \".*?\" -%\}")
_WRAP = (
    "{%- set condition = condition | default(heedful_conditions[-1]) -%}"
    "{%- set heedful = namespace(turns=[]) -%}"
    "{%- for message in messages -%}"
    "{%- if message['role'] in [ROLES] -%}"
    "{%- set heedful.turns = heedful.turns"
    " + [{'role': message['role'], 'content': condition ~ message['content']}] -%}"
    "{%- else -%}{%- set heedful.turns = heedful.turns + [message] -%}{%- endif -%}"
    "{%- endfor -%}"
    "{%- set messages = heedful.turns -%}"
)


def markers(kind: Kind, levels: int) -> tuple[str, ...]:
    """The conditions of a kind, worst first."""
    if kind == "points":
        return tuple(f"{n}-point answer:\n" for n in range(1, levels + 1))
    if kind == "reward_tokens":
        return tuple(f"<|reward_{n}|>" for n in range(1, levels + 1))
    return TWO[kind]


def condition(tokenizer: ChatTokenizer, known: Sequence[str], *, every_turn: bool = False) -> None:
    """Make the tokenizer's chat template one that knows these conditions.

    With `every_turn` the user's turns carry the condition too, as OpenChat's C-RLFT writes it.
    """
    if any(not marker or '"' in marker for marker in known) or len(set(known)) < len(known):
        raise UserError("conditions must differ, be no empty text and hold no double quotes")
    roles = "'assistant', 'user'" if every_turn else "'assistant'"
    listed = json.dumps(list(known), ensure_ascii=False)
    tokenizer.chat_template = (
        f"{{%- set heedful_conditions = {listed} -%}}"
        f"{_WRAP.replace('ROLES', roles)}"
        f"{plain(str(tokenizer.chat_template)).removesuffix(chr(10))}"
        "{% if add_generation_prompt %}{{ condition }}{% endif %}"
    )


def plain(template: str) -> str:
    """The template inside a conditioned one."""
    head = _KNOWN.search(template)
    if head is None:
        return template
    inside = template[head.end() :].partition("{%- set messages = heedful.turns -%}")[2]
    return inside.removesuffix("{% if add_generation_prompt %}{{ condition }}{% endif %}")


def known_to(tokenizer: ChatTokenizer) -> tuple[str, ...]:
    """The conditions that a tokenizer's chat template knows, worst first; none where it is not a conditioned one."""
    head = _KNOWN.search(str(tokenizer.chat_template or ""))
    return tuple(json.loads(head[1])) if head else ()


def asking(tokenizer: ChatTokenizer, wanted: str | int) -> str:
    """The chat template as it asks for a condition: one of those it knows, or its number from 1, the worst, on."""
    known = known_to(tokenizer)
    if not known:
        raise UserError(
            "this model was not trained on conditions: train one with `heedful sft ... condition=...`"
        )
    if isinstance(wanted, int) or (wanted.isdecimal() and len(wanted) < 10):
        number = int(wanted)
        if not 1 <= number <= len(known):
            raise UserError(
                f"there is no condition {number}: this model knows 1 (worst) to {len(known)} (best)"
            )
        chosen = known[number - 1]
    else:
        named = {marker.strip(): marker for marker in known}
        if wanted.strip() not in named:
            raise UserError(
                f"this model knows no condition '{wanted}'.{nearest(wanted, named)} Known: {', '.join(named)}."
            )
        chosen = named[wanted.strip()]
    bare = _ASKED.sub("", str(tokenizer.chat_template))
    return f"{{%- set condition = {json.dumps(chosen, ensure_ascii=False)} -%}}{bare}"


def ask(tokenizer: ChatTokenizer, wanted: str | int) -> None:
    """Make the chat template ask for a condition, as `asking` says."""
    tokenizer.chat_template = asking(tokenizer, wanted)


def unasked(tokenizer: ChatTokenizer) -> None:
    """Make the chat template ask for what it asks by itself: the best."""
    tokenizer.chat_template = _ASKED.sub("", str(tokenizer.chat_template))
