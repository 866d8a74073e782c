"""Records of `heedful.types` as the rows that are written to files."""

from collections.abc import Iterable
from typing import Any

from heedful.types import Conversation, Message, Prompt


def messages_row(messages: Iterable[Message]) -> list[dict[str, str]]:
    """Messages as people write them: role and content."""
    return [{"role": m.role, "content": m.content} for m in messages]


def conversation_row(dialogue: Conversation) -> dict[str, Any]:
    """A dialogue to learn from."""
    return {"messages": messages_row(dialogue.messages), "source": dialogue.source}


def prompt_row(prompt: Prompt) -> dict[str, Any]:
    """A prompt with its task and its further columns."""
    return {"prompt": messages_row(prompt.messages), "task": prompt.task, **prompt.columns}
