"""What says in numbers how good answers are, whatever is behind it: a model, a function, several of both, a server."""

from collections.abc import Mapping, Sequence
from typing import Protocol

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
