"""Texts and dialogues as trees: all of a text is trained, of a dialogue the assistant's messages."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from heedful.data import chat
from heedful.engine.batch import Tree, plain
from heedful.errors import UserError
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
    if not trees:
        raise UserError(f"all {too_long} dialogues are longer than max_length={max_length} tokens: raise it")
    return trees, too_long


def documents(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[Tree]:
    """Each text between begin and end tokens; longer ones are cut into pieces of `max_length`."""
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    trees = []
    for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]:
        whole = [*begin, *ids, tokenizer.eos_token_id]
        pieces = [whole[i : i + max_length] for i in range(0, len(whole), max_length)]
        trees += [plain(piece) for piece in pieces if len(piece) > 1]
    return trees
