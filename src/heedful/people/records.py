"""The nouns of people's work: batches of questions, who is asked what, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from heedful.errors import UserError
from heedful.types import Message

Question = Literal["rank", "compare", "steps", "demonstrate", "edit", "panel", "panel_pair", "plan"]
BatchState = Literal["open", "paused", "closed"]
WorkState = Literal["leased", "answered", "skipped", "released"]


@dataclass(frozen=True, slots=True)
class Stop:
    """When a batch has enough: whichever is met first, or when every task has its overlap.

    `judgements` counts answered tasks, gold aside; `agreement` is the share of pairs of annotators that said the
    same, over `at_least` answered tasks or more; `budget_seconds` is the annotators' active time.
    """

    judgements: int | None = None
    agreement: float | None = None
    at_least: int = 50
    budget_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """What a batch asks, of whom, and how.

    `overlap` annotators answer each task; `gold_rate` is the share of hidden gold among what one annotator gets.
    A batch of purpose "qualification" holds gold only; with `qualified`, only those who passed may work.
    `choice` orders the tasks: at random, or where reward models' scores disagree most. `flags` are the labels
    that the page offers.
    """

    question: Question
    criteria: tuple[str, ...] = ("overall",)
    instructions: str = ""
    overlap: int = 1
    gold_rate: float = 0.0
    lease_seconds: float = 1800.0
    priority: int = 0
    round: int = 0
    choice: Literal["random", "disagreement"] = "random"
    seed: int = 0
    purpose: Literal["work", "qualification"] = "work"
    qualified: bool = False
    cutoff: float = 0.75
    demonstration_cutoff: float = 6.0
    gold_at_least: int = 10
    step_separator: str = "\n"
    flags: tuple[str, ...] = ("harmful", "personal data", "not understandable")
    stop: Stop = field(default_factory=Stop)


@dataclass(frozen=True, slots=True)
class NewTask:
    """A question to be put: a prompt and the answers that it is about.

    `scores` holds, for each of several reward models, its score of each answer.
    """

    prompt_id: str
    answers: tuple[str, ...] = ()
    scores: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as it is now; `number` counts from 1, `reason` says why it is paused or closed."""

    id: str
    number: int
    name: str
    settings: BatchSettings
    state: BatchState
    reason: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class Shown:
    """An answer as an annotator sees it: neither its id nor who wrote it."""

    text: str
    steps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Assignment:
    """A task in one annotator's hands, its answers in the order that this annotator sees.

    `version` goes with what is submitted; `reply` is what was submitted before, `draft` what was written since.
    """

    task: str
    batch: str
    lease: UUID
    expires_ms: int
    version: int
    question: Question
    criteria: tuple[str, ...]
    instructions: str
    flags: tuple[str, ...]
    messages: tuple[Message, ...]
    answers: tuple[Shown, ...]
    draft: Mapping[str, Any] | None = None
    reply: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is nothing to do for this annotator, and why."""

    reason: Literal["paused", "unqualified", "empty", "closed"]
    detail: str


@dataclass(frozen=True, slots=True)
class Answered:
    """Where an annotator stands with a task: what was sent last, and what the store made of it."""

    task: str
    batch: str
    version: int
    state: WorkState
    reply: Mapping[str, Any] | None
    reason: str
    submission: UUID | None
    events: tuple[UUID, ...]
    seconds: float
    server_ms: int
    question: Question
    title: str


class Conflict(UserError):
    """What was sent does not fit what the store holds by now; `current` is that state.

    `reason` is "stale" (another version was submitted since), "expired" (the lease ended) or "taken" (others filled
    the task's overlap).
    """

    def __init__(
        self,
        message: str,
        reason: Literal["stale", "expired", "taken"],
        current: Answered | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.current = current


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch is: answered slots of those wanted (gold aside), and the work of each annotator."""

    batch: str
    tasks: int
    wanted: int
    done: int
    held: int
    skipped: int
    judgements: int
    seconds: float
    annotators: Mapping[str, int]
    finished: bool
    reason: str


@dataclass(frozen=True, slots=True)
class TaskLine:
    """A task as researchers list it; `skipped` counts those who passed it by."""

    task: str
    title: str
    answered: int
    held: int
    skipped: int
    gold: bool


@dataclass(frozen=True, slots=True)
class Said:
    """One annotator's reply to a task, its positions those of the task's stored order."""

    annotator: str
    reply: Mapping[str, Any]
    seconds: float
    server_ms: int


@dataclass(frozen=True, slots=True)
class Mine:
    """An annotator's own progress; `left` is what open batches may still ask them, hidden gold aside."""

    answered: int
    skipped: int
    today: int
    seconds: float
    left: int
