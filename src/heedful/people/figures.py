"""What `statistics` finds: figures with intervals, or reasons."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from heedful.stats.coded import Agreement
from heedful.stats.estimate import Estimate


@dataclass(frozen=True, slots=True)
class AnnotatorFigures:
    """One annotator: how much, how fast, how right (Dawid & Skene), and leaning to which side.

    `accuracy` is the chance that they say what is true, `bias` by how much more often than is true they say each
    value. `first_side` is the share of their choices for the answer shown first, `longer` for the longer one.
    """

    name: str
    kind: str
    judgements: int
    seconds_median: float | None
    accuracy: float | None
    bias: Mapping[str, float]
    first_side: Estimate
    longer: Estimate


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """One policy: `strength` in nats, `points` on Elo's scale, both of Bradley-Terry; `length_adjusted` in nats."""

    policy: str
    games: int
    elo: float | None
    strength: Estimate
    points: Estimate
    length_adjusted: Estimate


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of active time a judgement."""

    n: int
    median: float
    p90: float
    mean: Estimate


@dataclass(frozen=True, slots=True)
class Disputed:
    """Something that annotators do not agree about: a pair of answers, or one answer's mark.

    `labels` say for each annotator: in pairs above 0 that the first of `answers` is better. `disagreement` is
    the mean difference of two labels, 1 at most; `task` is the queue's, "" if the judgements came otherwise.
    """

    kind: str
    prompt_id: str
    title: str
    criterion: str
    answers: tuple[str, ...]
    labels: Mapping[str, int]
    disagreement: float
    task: str


@dataclass(frozen=True, slots=True)
class Statistics:
    """Everything that the judgements of a store say about annotators, questions and policies.

    `as_of` is the number of the newest event; `notes` say what was looked at in part only.
    """

    as_of: int
    kinds: Mapping[str, int]
    agreement: Mapping[str, Agreement]
    annotators: tuple[AnnotatorFigures, ...]
    position: Estimate
    length: Estimate
    models: tuple[ModelFigures, ...]
    tie: float | None
    length_effect: Estimate
    times: Mapping[str, Times]
    adjudication: tuple[Disputed, ...]
    notes: tuple[str, ...]

    def json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)
