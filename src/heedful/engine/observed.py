"""A reward whose answers a judge grades too, for the record alone: what over-optimisation shows itself by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from heedful.engine.scorer import Scorer, StepScore, StepScorer
from heedful.tasks.judge import Judge
from heedful.types import Prompt


@dataclass
class Observed:
    """A `Scorer` whose metrics hold the judge's marks of the latest call too: `judge/mean` and `judge/std`."""

    scorer: Scorer
    judge: Judge
    metrics: Mapping[str, float] = field(default_factory=dict)

    def scores(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[list[float]]:
        """The reward's scores, which the judge does not change."""
        found = self.scorer.scores(prompts, answers)
        self._grade(prompts, answers)
        return found

    def steps(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]
    ) -> list[list[tuple[StepScore, ...]]]:
        """The reward's scores of steps, where it gives any."""
        assert isinstance(self.scorer, StepScorer)
        found = self.scorer.steps(prompts, answers)
        self._grade(prompts, answers)
        return found

    def _grade(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> None:
        asked = [prompt for prompt, texts in zip(prompts, answers, strict=True) for _ in texts]
        marks = [grade["total"] for grade in self.judge(asked, [text for texts in answers for text in texts])]
        self.metrics = {
            **self.scorer.metrics,
            "judge/mean": float(np.mean(marks)),
            "judge/std": float(np.std(marks)),
        }
