"""What says in numbers how good answers are, whatever is behind it: a model, a function, several of both, a server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from heedful.types import Prompt


class Scorer(Protocol):
    """The boundary is text. `metrics` are the figures of the latest call, by the names under which they are logged.

    Scores depend on the call alone, never on earlier calls.
    """

    @property
    def metrics(self) -> Mapping[str, float]: ...

    def scores(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[list[float]]:
        """Scores [prompt][answer], higher is better."""
        ...


@dataclass(frozen=True, slots=True)
class StepScore:
    """Where a step ends in the answer's text (the offset after its last character), and P(the step is right)."""

    end: int
    probability: float


@runtime_checkable
class StepScorer(Scorer, Protocol):
    """A scorer that can tell the steps of an answer apart."""

    def steps(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]
    ) -> list[list[tuple[StepScore, ...]]]:
        """What each step is worth: [prompt][answer][step]."""
        ...
