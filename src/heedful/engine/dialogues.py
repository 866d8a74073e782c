"""Dialogues as trees: several turns in one row, trained on the assistant's messages."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from heedful.data import chat
from heedful.engine.batch import Tree, plain
from heedful.types import Conversation


def conversations(
    tokenizer: Any, dialogues: Sequence[Conversation], max_length: int
) -> tuple[list[Tree], int]:
    """One tree a dialogue; also how many were left out because they are longer than `max_length`."""
    trees, too_long = [], 0
    for dialogue in dialogues:
        rendered = chat.render(tokenizer, dialogue.messages)
        if len(rendered.ids) > max_length:
            too_long += 1
            continue
        trees.append(plain(np.asarray(rendered.ids), np.asarray(rendered.mask), dialogue.weight))
    return trees, too_long
