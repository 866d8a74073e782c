"""Steps of stories as trees: write the passage, say what changed, plan what comes next."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful.data import chat
from heedful.engine.batch import Node, Tree, prompt_node
from heedful.engine.randomness import key
from heedful.panels import requests
from heedful.panels.exchange import Step
from heedful.panels.panel import FIELDS, Panel

Asked = tuple[tuple[int, ...], Node]
"""The tokens of a prompt, and what follows it."""


@dataclass(frozen=True, slots=True)
class Shares:
    """How often each part of a step is trained on in a pass over the steps, 0 to 1.

    `write`: P(passage | panel before). `update`: P(state after | panel before, passage). `plan`: P(plan | state).
    `read` is `update` without the plan in the panel before, as a text is read that nobody planned. `partial` is
    `write` with a random part of the panel. `text` goes on from the story's own newest text, for comparison.
    """

    write: float = 1.0
    update: float = 1.0
    plan: float = 1.0
    read: float = 0.0
    partial: float = 0.0
    text: float = 0.0

    def drawn(self, seed: int, step: Step, part: str) -> bool:
        """Whether a pass trains on a part of a step, from their names alone."""
        return key("part", seed, part, step.story, step.index) / 2**63 < float(getattr(self, part))


def trees(
    tokenizer: Any, steps: Sequence[Step], shares: Shares, *, max_length: int, seed: int = 0
) -> tuple[list[Tree], int]:
    """One tree a prompt, with a branch for each answer to it, and how many answers were too long.

    Steps that share panel, condition and weight share the prompt's computation, however many passages were written
    from it. The opening of a story, whose panel before is empty, is read and never written.
    """
    found: dict[tuple[tuple[int, ...], float], list[Node]] = {}
    texts: list[Tree] = []
    too_long = 0
    told = earlier(steps)
    for step in steps:
        for prompt, node in answers(tokenizer, step, shares, seed):
            if len(prompt) + len(node.ids) > max_length:
                too_long += 1
            else:
                found.setdefault((prompt, step.weight), []).append(node)
        if shares.drawn(seed, step, "text"):
            passage = [*encoded(tokenizer, step.passage), *encoded(tokenizer, "\n")]
            context = recent(tokenizer, told[step.story, step.index], tokens=max_length - len(passage))
            if len(context) + len(passage) > max_length:
                too_long += 1
            else:
                texts.append(Tree(prompt_node(context), (trained(passage),), weight=step.weight))
    grouped = [
        Tree(prompt_node(p), tuple(some), weight=w)
        for (p, w), nodes in found.items()
        for some in groups(nodes, 2 * max_length - len(p))
    ]
    return grouped + texts, too_long


def earlier(steps: Sequence[Step]) -> dict[tuple[str, int], list[str]]:
    """The passages of a story that stand before each of its steps."""
    found: dict[tuple[str, int], list[str]] = {}
    told: dict[str, list[str]] = {}
    for step in sorted(steps, key=lambda s: s.index):
        found[step.story, step.index] = list(told.setdefault(step.story, []))
        told[step.story].append(step.passage)
    return found


def groups(nodes: Sequence[Node], room: int) -> list[list[Node]]:
    """Branches in order, in groups of at most `room` tokens or one branch: a tree has to fit in a micro-batch."""
    found: list[list[Node]] = []
    size = 0
    for node in nodes:
        if not found or size + len(node.ids) > room:
            found.append([])
            size = 0
        found[-1].append(node)
        size += len(node.ids)
    return found


def answers(tokenizer: Any, step: Step, shares: Shares, seed: int) -> list[Asked]:
    """The dialogues that a pass trains on for one step."""

    def drawn(part: str) -> bool:
        return shares.drawn(seed, step, part)

    found = []
    written = bool(step.before.plan)
    write, update = drawn("write") and written, drawn("update")
    if write or update:
        found.append(dialogue(tokenizer, step, step.before, write=write, update=update))
    if drawn("read") and (written or not update):
        found.append(dialogue(tokenizer, step, step.before.without("plan"), write=False, update=True))
    if drawn("partial") and written:
        shown = part_of(step.before, Random(key("partial", seed, step.story, step.index)))
        found.append(dialogue(tokenizer, step, shown, write=True, update=False))
    if drawn("plan") and step.after.plan:
        start = chat.render_prompt(tokenizer, requests.plan(step.after, step.condition))
        found.append((start, trained(chat.answer_ids(tokenizer, requests.plan_of(step.after)))))
    return found


def dialogue(tokenizer: Any, step: Step, before: Panel, *, write: bool, update: bool) -> Asked:
    """The prompt for a passage and what follows it: the passage, and the question and the patch if asked for."""
    start = chat.render_prompt(tokenizer, requests.write(before, step.condition))
    passage = chat.answer_ids(tokenizer, step.passage)
    if not update:
        return start, trained(passage)
    whole = chat.render_prompt(tokenizer, requests.update(before, step.passage, step.condition))
    question = whole[len(start) + len(passage) :]
    patch = chat.answer_ids(tokenizer, requests.patch_of(before, step.after))
    marks = np.repeat([write, False, True], [len(passage), len(question), len(patch)])
    return start, Node(np.asarray([*passage, *question, *patch], dtype=np.int64), marks)


def part_of(panel: Panel, rng: Random) -> Panel:
    """A panel of which each field is kept with a probability that is itself drawn: every size of part occurs."""
    share = rng.random()
    return panel.only(field for field in FIELDS if rng.random() < share)


def windows(tokenizer: Any, passages: Sequence[str], *, tokens: int) -> list[NDArray[np.int64]]:
    """A story as plain text in stretches of whole passages of at most about `tokens` tokens each."""
    found: list[NDArray[np.int64]] = []
    ids: list[int] = []
    for text in passages:
        more = [*encoded(tokenizer, text), *encoded(tokenizer, "\n")]
        if ids and len(ids) + len(more) > tokens:
            found.append(np.asarray([*beginning(tokenizer), *ids], dtype=np.int64))
            ids = []
        ids += more
    return [*found, np.asarray([*beginning(tokenizer), *ids], dtype=np.int64)] if ids else found


def recent(tokenizer: Any, passages: Sequence[str], *, tokens: int) -> tuple[int, ...]:
    """The newest whole passages that `tokens` tokens hold, as the beginning of a plain text."""
    ids: list[int] = []
    for text in reversed(passages):
        more = [*encoded(tokenizer, text), *encoded(tokenizer, "\n")]
        if len(ids) + len(more) + 1 > tokens:
            break
        ids = [*more, *ids]
    return (*beginning(tokenizer), *ids)


def trained(ids: Sequence[int]) -> Node:
    """A node of which every token is trained."""
    return Node(np.asarray(ids, dtype=np.int64), np.ones(len(ids), dtype=bool))


def encoded(tokenizer: Any, text: str) -> list[int]:
    """The tokens of a text by itself."""
    return list(tokenizer.encode(text, add_special_tokens=False))


def beginning(tokenizer: Any) -> list[int]:
    """The token that a text begins with; where the tokenizer has none, its end-of-text token stands there."""
    first = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    return [int(first)]
