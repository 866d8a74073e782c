"""Labelled steps as comparisons: where answers part, a right next step is preferred to a wrong one (Step-DPO)."""

from collections.abc import Sequence
from typing import Any

from heedful.data import chat
from heedful.engine.batch import Pair, Tree, answer_node, prompt_node
from heedful.engine.pairs import Compared
from heedful.errors import UserError
from heedful.types import Message, Solution

Begun = tuple[tuple[Message, ...], tuple[str, ...]]


def compared_steps(
    tokenizer: Any, solutions: Sequence[Solution], max_length: int, *, separator: str
) -> Compared:
    """One tree for each beginning of an answer that went on rightly in one solution and wrongly in another.

    The beginning belongs to the prompt; its next steps, each with its separator and no end, are the branches. All
    comparisons of a tree weigh 1 together. Lai et al. 2024 (arXiv:2406.18629): with `dpo` this is Step-DPO.
    """
    trees, too_long = [], 0
    for (messages, begun), steps in next_steps(solutions).items():
        right = [s for s, label in steps.items() if label > 0]
        wrong = [s for s, label in steps.items() if label < 0]
        if not (right and wrong):
            continue
        before = [token for step in begun for token in _tokens(tokenizer, step, separator)]
        prompt = [*chat.render_prompt(tokenizer, messages), *before]
        nodes = [_tokens(tokenizer, step, separator) for step in (*right, *wrong)]
        if len(prompt) + max(map(len, nodes)) > max_length:
            too_long += 1
            continue
        chosen = [(i, len(right) + j) for i in range(len(right)) for j in range(len(wrong))]
        pairs = tuple(Pair(i, j, weight=1 / len(chosen)) for i, j in chosen)
        trees.append(Tree(prompt_node(prompt), tuple(map(answer_node, nodes)), pairs))
    if not trees:
        raise UserError(
            f"no beginning of these {len(solutions)} answers goes on both rightly and wrongly within "
            f"max_length={max_length} tokens: give several answers to a prompt that share their first steps"
        )
    return Compared(trees, too_long)


def next_steps(solutions: Sequence[Solution]) -> dict[Begun, dict[str, int]]:
    """For each beginning of an answer, the steps that follow it and their labels; a disputed step is worth 0.

    What follows a wrong step is no example of anything.
    """
    found: dict[Begun, dict[str, int]] = {}
    for solution in solutions:
        for number, (step, label) in enumerate(zip(solution.steps, solution.labels, strict=False)):
            if label is None:
                continue
            steps = found.setdefault((solution.messages, solution.steps[:number]), {})
            steps[step] = label if steps.get(step, label) == label else 0
            if label < 0:
                break
    return found


def _tokens(tokenizer: Any, step: str, separator: str) -> tuple[int, ...]:
    return chat.answer_ids(tokenizer, step + separator)[:-1]
