"""Best of n at inference: of several answers, those that a reward likes best."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from heedful.engine.sampler import Answered, Asked, Sampler
from heedful.engine.sampling import Sampling


class Reranked:
    """A sampler that draws `candidates` answers for each that is asked for and gives those with the highest reward."""

    def __init__(self, sampler: Sampler, reward: Any, candidates: int) -> None:
        self.sampler, self.reward, self.candidates = sampler, reward, candidates

    def answer(
        self, prompts: Sequence[Asked], how: Sampling, *, seed: Sequence[Any], n: int = 1, slots: int = 64
    ) -> list[Answered]:
        """The `n` best of n x candidates answers a prompt, best first; `how` must draw (temperature above 0)."""
        drawn = self.sampler.answer(prompts, how, seed=seed, n=n * self.candidates, slots=slots)
        scores = self.reward.scores(prompts, [a.texts for a in drawn])
        return [kept(a, row, n) for a, row in zip(drawn, scores, strict=True)]


def kept(answered: Answered, scores: Sequence[float], n: int) -> Answered:
    """The `n` answers with the highest scores, best first; of equal ones the earlier."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])[:n]
    samples, texts = answered.samples, answered.texts
    return replace(answered, samples=tuple(samples[i] for i in order), texts=tuple(texts[i] for i in order))
