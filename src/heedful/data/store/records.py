"""The store's own nouns, beside those of `heedful.types`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict
from uuid import UUID

from heedful.types import (
    Comment,
    Comparison,
    Demonstration,
    Edit,
    PanelComparison,
    PanelRating,
    PlanChoice,
    Ranking,
    Rating,
    StepLabels,
)

AnnotatorKind = Literal["person", "simulated", "model", "gold"]


@dataclass(frozen=True, slots=True)
class Annotator:
    """Someone or something that judges.

    `kind` "gold" marks the reference judgements that others are measured against.
    `qualified` is None until a qualifying set was judged; `reason` says why, `agreement` holds the figures.
    `paused` says why they get nothing to judge at present; "" if they do.
    """

    name: str
    kind: AnnotatorKind = "person"
    qualified: bool | None = None
    reason: str = ""
    agreement: Mapping[str, Any] = field(default_factory=dict)
    paused: str = ""


@dataclass(frozen=True, slots=True)
class Skip:
    """An annotator passed a prompt by, and said why."""

    prompt_id: str
    annotator: str
    reason: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Flag:
    """An annotator reported a prompt, or one of its answers, for instance as `label` "harmful"."""

    prompt_id: str
    annotator: str
    label: str
    answer_id: str | None = None
    comment: str = ""
    seconds: float = 0.0


Judgement = (
    Rating
    | Ranking
    | Comparison
    | StepLabels
    | Demonstration
    | Edit
    | Comment
    | PanelRating
    | PanelComparison
    | PlanChoice
    | Skip
    | Flag
)
Kind = Literal[
    "rating",
    "ranking",
    "comparison",
    "steps",
    "demonstration",
    "edit",
    "comment",
    "panel_rating",
    "panel_comparison",
    "plan_choice",
    "skip",
    "flag",
]


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the store's journal: what was submitted, never changed afterwards.

    `seq` counts from 1 in the order of commits, without gaps. `item` names the question that was answered: a
    later event of the same annotator, kind and item supersedes this one. `target` is the event that an
    undo takes back. Times are milliseconds since 1970, UTC; `seconds` is the time spent on the judgement.
    `task` is the task of the queue that it answers, if it came from there.
    """

    id: UUID
    seq: int
    kind: str
    annotator: str
    prompt_id: str
    item: str
    criterion: str
    round: int
    payload: Mapping[str, Any]
    target: UUID | None
    seconds: float
    client_ms: int | None
    server_ms: int
    task: str | None = None


class Where(TypedDict, total=False):
    """Which current judgements to read; every key narrows the choice.

    `annotators` are names; `qualified=True` keeps those of qualified annotators only; `batch` is the id of a
    batch of the queue; `after` and `as_of` are numbers of events: judgements later than the one, as they stood at
    the other.
    """

    round: int
    batch: str
    after: int
    as_of: int
    criterion: str
    prompt_id: str
    annotators: Collection[str]
    qualified: bool
