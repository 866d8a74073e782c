"""Process reward models: every step of an answer is judged where it ends, and the steps together give the score."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from heedful.data import chat, solutions
from heedful.engine.batch import Node, Tree, prompt_node
from heedful.engine.pairs import Compared
from heedful.engine.score import sequence_columns, use_packed_attention
from heedful.engine.scorer import StepScore, StepScorer
from heedful.errors import UserError
from heedful.nn import hub
from heedful.types import Message, Prompt, Solution

Whole = Literal["product", "minimum", "last"]


def whole(probabilities: Sequence[float], how: Whole) -> float:
    """A solution's score from its steps': product, minimum or last; 0 without any step.

    Product: Lightman et al. 2023, appendix F (arXiv:2305.20050); minimum: Wang et al. 2024, section 3.4
    (arXiv:2312.08935).
    """
    if not probabilities:
        return 0.0
    if how == "last":
        return float(probabilities[-1])
    return float(np.prod(probabilities) if how == "product" else min(probabilities))


def solution_trees(
    tokenizer: Any, given: Sequence[Solution], max_length: int, *, separator: str, neutral: float = 1.0
) -> Compared:
    """A tree a prompt, whose solutions carry a `step_label` at each supervised step; all steps weigh the same."""
    groups: dict[tuple[Message, ...], list[Node]] = {}
    too_long = unlabelled = 0
    for solution in given:
        labels = solutions.up_to_the_first_error(solution, neutral=neutral)
        prompt = chat.render_prompt(tokenizer, solution.messages)
        node = step_node(tokenizer, solution.steps[: len(labels)], separator, labels)
        if not node.trained.any():
            unlabelled += 1
        elif len(prompt) + len(node.ids) > max_length:
            too_long += 1
        else:
            groups.setdefault(solution.messages, []).append(node)
    if not groups:
        raise UserError(
            f"none of the {len(given)} solutions can be used: {unlabelled} have no label, {too_long} are longer than "
            f"max_length={max_length}"
        )
    roots = {messages: prompt_node(chat.render_prompt(tokenizer, messages)) for messages in groups}
    return Compared([Tree(roots[m], tuple(nodes)) for m, nodes in groups.items()], too_long)


def step_node(
    tokenizer: Any, steps: Sequence[str], separator: str, labels: Sequence[float | None] | None = None
) -> Node:
    """The tokens of steps, each with its separator behind it; what is `trained` is each (labelled) step's last token.

    Every step is tokenized by itself, so that it ends where a token ends, in training and in use alike. Without any
    step there is the end of the answer alone.
    """
    parts = [chat.answer_ids(tokenizer, step + separator)[:-1] for step in steps]
    told = [1.0] * len(steps) if labels is None else labels
    flat = [token for part in parts for token in part] or list(chat.answer_ids(tokenizer, ""))
    ids = np.asarray(flat, dtype=np.int64)
    trained = np.zeros(len(ids), dtype=bool)
    ends = np.cumsum([len(part) for part in parts]) - 1
    marks = [int(end) for end, label in zip(ends, told, strict=True) if label is not None]
    trained[np.asarray(marks, dtype=np.int64)] = True
    column = np.asarray([label for label in told if label is not None], dtype=np.float32)
    return Node(ids, trained, {} if labels is None else {"step_label": column})


class ProcessRewardModel:
    """A model that judges steps, with its tokenizer; a `Scorer` whose score is made of its steps' probabilities."""

    metrics: Mapping[str, float] = {}

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        separator: str = "\n",
        how: Whole = "product",
        token_budget: int = 16384,
    ) -> None:
        use_packed_attention(model)
        self.model, self.tokenizer, self.token_budget = model.eval(), tokenizer, token_budget
        self.separator, self.how = separator, how

    @classmethod
    def load(cls, source: str | Path) -> "ProcessRewardModel":
        """Open what the stage `reward` wrote with objective=process; `describe` says how scores are made."""
        tokenizer = hub.load_tokenizer(source)
        chat.ensure_chat_template(tokenizer)
        model = hub.load_scorer(source)
        separator, how = described(model.config)
        if separator is None or how not in get_args(Whole):
            raise UserError(f"'{source}' is no process reward model: its config.json names no step_separator")
        return cls(model, tokenizer, separator=separator, how=how)

    def steps(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]
    ) -> list[list[tuple[StepScore, ...]]]:
        """What each step is worth: [prompt][answer][step]. Steps are what the separator separates."""
        trees = []
        for prompt, texts in zip(prompts, answers, strict=True):
            root = prompt_node(chat.render_prompt(self.tokenizer, prompt.messages))
            nodes = (step_node(self.tokenizer, self._split(text), self.separator) for text in texts)
            trees.append(Tree(root, tuple(nodes)))
        budget = max([self.token_budget, *(t.size for t in trees)])
        found = sequence_columns(self.model, trees, "step_score", token_budget=budget)
        return [
            [
                tuple(
                    StepScore(end, p)
                    for end, p in zip(
                        solutions.step_ends(text, self.separator), torch.sigmoid(row).tolist(), strict=True
                    )
                )
                for text, row in zip(texts, rows, strict=True)
            ]
            for texts, rows in zip(answers, found, strict=True)
        ]

    def scores(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[list[float]]:
        """Scores [prompt][answer] between 0 and 1."""
        return [
            [whole([s.probability for s in steps], self.how) for steps in row]
            for row in self.steps(prompts, answers)
        ]

    def _split(self, text: str) -> tuple[str, ...]:
        return solutions.step_texts(text, self.separator)


def describe(config: Any, *, separator: str, how: Whole) -> None:
    """Keep in a model's configuration how its answers are cut into steps and its scores made of them."""
    config.step_separator, config.step_reduction = separator, how


def described(config: Any) -> tuple[str | None, Any]:
    """What `describe` wrote; (None, None) for a model that judges whole answers."""
    return getattr(config, "step_separator", None), getattr(config, "step_reduction", None)


def step_rewards(
    scorer: StepScorer,
    prompts: Sequence[Prompt],
    answers: Sequence[Sequence[str]],
    tokenizer: Any,
    ids: Sequence[NDArray[np.int64]],
) -> list[NDArray[np.float32]]:
    """Rewards of the policy's own tokens `ids` (one row an answer, flat): each step's probability where it ends.

    Wang et al. 2024, section 3.5 (arXiv:2312.08935).
    """
    flat = [steps for row in scorer.steps(prompts, answers) for steps in row]
    return [
        at_tokens(tokenizer, tokens, [(s.end, s.probability) for s in steps])
        for tokens, steps in zip(ids, flat, strict=True)
    ]


def at_tokens(
    tokenizer: Any, ids: NDArray[np.int64], values: Sequence[tuple[int, float]]
) -> NDArray[np.float32]:
    """Values at offsets of the decoded text -> values at tokens: each stands on the token that completes it."""
    found = np.zeros(len(ids), dtype=np.float32)
    if not values:
        return found
    written = [len(tokenizer.decode(ids[: n + 1], skip_special_tokens=True)) for n in range(len(ids))]
    for end, value in values:
        place = next((n for n, length in enumerate(written) if length >= end), len(ids) - 1)
        found[place] += value
    return found
