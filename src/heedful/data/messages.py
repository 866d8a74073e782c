"""Messages out of the spellings that people use: role/content, from/value, HH-RLHF transcripts."""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from heedful.data.wording import kind, shown
from heedful.errors import UserError, nearest
from heedful.types import Message, Role

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")


class Skip(Exception):
    """A well-formed row that is of no use here: left out and counted under this reason."""


def content_id(*parts: object) -> str:
    """A 20-digit hexadecimal name that depends on the content alone: BLAKE2b of its JSON."""
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def prompt_id(messages: Sequence[Message]) -> str:
    """The id of a prompt: equal messages, equal id, whatever file they come from."""
    return content_id(*((message.role, message.content) for message in messages))


def as_messages(value: object, where: str) -> tuple[Message, ...]:
    """A list of {"role", "content"} or {"from", "value"} objects; `where` opens the error messages."""
    if not isinstance(value, list):
        raise UserError(f"{where} is {kind(value)}, but it must be a list of messages.")
    return tuple(as_message(item, f"{where}, message {n},") for n, item in enumerate(value, 1))


def as_message(value: object, where: str) -> Message:
    """One {"role", "content"} or {"from", "value"} object."""
    if not isinstance(value, dict):
        raise UserError(f"{where} is {kind(value)}, but it must be an object with a role and a content.")
    role_key, content_key = ("from", "value") if "from" in value else ("role", "content")
    for key in (role_key, content_key):
        if key not in value:
            raise UserError(f"{where} has no '{key}'.{nearest(key, map(str, value))}")
    role = value[role_key]
    if not isinstance(role, str) or role not in _ROLES:
        hint = nearest(role, _ROLES) if isinstance(role, str) else ""
        raise UserError(f"{where} has the role {shown(role)}, which is not system, user or assistant.{hint}")
    return Message(_ROLES[role], _content(value[content_key], where))


def _content(value: object, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_part(part, where) for part in value)
    raise UserError(f"{where} has a content that is {kind(value)}, but it must be text.")


def _part(part: Any, where: str) -> str:
    """One of the parts {"type": "text", "text": ...} that a content may be split into."""
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    raise UserError(f"{where} has a part that is not text; only text can be learnt from.")


def transcript(text: str) -> tuple[Message, ...] | None:
    """The turns of "\\n\\nHuman: ...\\n\\nAssistant: ...", stripped; None if the text is not of that form."""
    before, *parts = _SPEAKER.split(text.strip())
    if before or "Assistant" not in parts[::2] or parts[0] != "Human":
        return None
    turns = zip(parts[::2], parts[1::2], strict=True)
    return tuple(Message("user" if who == "Human" else "assistant", said.strip()) for who, said in turns)


def checked_turns(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The same messages, if after an optional system message user and assistant take turns."""
    turns = messages[1:] if messages and messages[0].role == "system" else messages
    if not turns:
        raise Skip("no user message")
    if any(message.role != ("user", "assistant")[n % 2] for n, message in enumerate(turns)):
        raise Skip("user and assistant do not take turns")
    if any(not message.content.strip() for message in turns[::2]):
        raise Skip("empty user message")
    return messages
