"""A model that judges answers: it reads the likelihood of its choices, in both orders and by every principle."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heedful.engine.chooser import Chooser
from heedful.tasks.principles import Principles
from heedful.types import Message, Prompt

Pair = tuple[tuple[Message, ...], str, str]


@dataclass(frozen=True)
class AiJudge:
    """Which of two answers is better, as a probability (Bai et al. 2022, section 4.1, arXiv:2212.08073).

    With `reasoning` tokens it first writes down what speaks for each, and chooses then. What a judge has argued for it
    is nearly sure of, so its probabilities are clamped to [`clamp`, 1 - `clamp`].
    """

    chooser: Chooser
    words: Principles
    reasoning: int = 0
    clamp: float = 0.0

    def views(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """P(the first answer is better) [pairs, principles, 2]: with it shown first, and shown second."""
        ask = self.words.reasons if self.reasoning else self.words.comparison
        questions = [
            ask(messages, *shown, principle)
            for messages, first, second in pairs
            for principle in self.words.principles
            for shown in ((first, second), (second, first))
        ]
        if not questions:
            return np.zeros((0, len(self.words.principles), 2))
        if self.reasoning:
            said = self.chooser.write(questions, self.reasoning)
            questions = [self.words.conclusion(q, s) for q, s in zip(questions, said, strict=True)]
        logp = self.chooser.logp(questions, self.words.choices)
        shown_first = (1 / (1 + np.exp(logp[:, 1] - logp[:, 0]))).clip(self.clamp, 1 - self.clamp)
        found = shown_first.reshape(len(pairs), len(self.words.principles), 2)
        found[..., 1] = 1 - found[..., 1]
        return np.asarray(found)

    def prefer(self, pairs: Sequence[Pair]) -> NDArray[np.float64]:
        """P(the first answer is better), the mean over principles and both orders: swapped answers, swapped result."""
        return np.asarray(self.views(pairs).mean((1, 2)))

    def __call__(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[dict[str, float]]:
        """As a judge of single answers: the mean probability of beating the other answers to the same prompt."""
        groups: dict[str, list[int]] = {}
        for i, prompt in enumerate(prompts):
            groups.setdefault(prompt.id, []).append(i)
        chosen = [(i, j) for rows in groups.values() for i in rows for j in rows if i < j]
        found = self.prefer([(prompts[i].messages, answers[i], answers[j]) for i, j in chosen])
        won: dict[int, list[float]] = {i: [] for i in range(len(prompts))}
        for (i, j), p in zip(chosen, found.tolist(), strict=True):
            won[i].append(p)
            won[j].append(1 - p)
        return [{"total": sum(w) / len(w) if w else 0.5} for w in won.values()]
