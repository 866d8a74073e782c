"""The nouns of the project: frozen records that every floor may use. No torch, no I/O.

Everything here can be written as JSON: strings, numbers, tuples and plain mappings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
Lang = Literal["en", "zh"]


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A dialogue to learn from: loss is taken on the assistant's messages.

    `weight` multiplies the loss of its tokens; `source` says who wrote it.
    """

    messages: tuple[Message, ...]
    id: str = ""
    weight: float = 1.0
    source: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A dialogue that ends with the user's turn, to be answered.

    `task` groups prompts in reports; `columns` are handed to reward functions by name.
    """

    id: str
    messages: tuple[Message, ...]
    task: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a prompt. `policy` names the model that wrote it; `finished` is False if it was cut."""

    id: str
    prompt_id: str
    text: str
    policy: str = ""
    finished: bool = True


@dataclass(frozen=True, slots=True)
class Rating:
    """One annotator's mark for one answer on one criterion, 1 (worst) to 7 (best)."""

    prompt_id: str
    answer_id: str
    annotator: str
    score: int
    criterion: str = "overall"
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Ranking:
    """One annotator's order of the answers to a prompt: best first, tied answers in one inner tuple.

    `shown` is the order in which the annotator met them, where it was recorded.
    """

    prompt_id: str
    annotator: str
    order: tuple[tuple[str, ...], ...]
    criterion: str = "overall"
    seconds: float = 0.0
    shown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """One annotator's choice between two answers, shown as `first` and `second`.

    `preference` > 0: the first is better; < 0: the second; 0: about the same.
    Its size is the strength: 1 slightly, 2 better, 3 significantly (Llama 2, section 3.2.1).
    """

    prompt_id: str
    first: str
    second: str
    annotator: str
    preference: int
    criterion: str = "overall"
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class StepAlternative:
    """Another text for one step (counted from 0) of an answer: 1 good, 0 neutral, -1 bad, None unrated.

    `written` is True if the annotator wrote it, `chosen` if the solution goes on with it.
    """

    step: int
    text: str
    rating: int | None = None
    written: bool = False
    chosen: bool = False


FinishReason = Literal["solution", "found_error", "give_up", "bad_problem"]


@dataclass(frozen=True, slots=True)
class StepLabels:
    """One annotator's labels of an answer's steps, in order: 1 good, 0 neutral, -1 bad.

    Labelling stops at the first bad step (Lightman et al. 2023, arXiv 2305.20050); `steps` are the texts that
    were labelled, `finish_reason` says how it ended.
    """

    prompt_id: str
    answer_id: str
    annotator: str
    steps: tuple[str, ...]
    labels: tuple[int, ...]
    finish_reason: FinishReason
    alternatives: tuple[StepAlternative, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Demonstration:
    """An answer that an annotator wrote; `answer_id` is given by the store."""

    prompt_id: str
    annotator: str
    text: str
    answer_id: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Edit:
    """The answer `original` edited into a better one, which the store names `answer_id`."""

    prompt_id: str
    annotator: str
    original: str
    text: str
    answer_id: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Comment:
    """What an annotator says in words about a prompt, or about one of its answers."""

    prompt_id: str
    annotator: str
    text: str
    answer_id: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PanelRating:
    """A mark from 1 to 7 for a panel: an answer whose text is lines of a panel, or of a patch that makes it."""

    prompt_id: str
    panel_id: str
    annotator: str
    score: int
    criterion: str = "overall"
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PanelComparison:
    """A choice between two panels; `preference` as in `Comparison`."""

    prompt_id: str
    first: str
    second: str
    annotator: str
    preference: int
    criterion: str = "overall"
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PlanChoice:
    """Which of several plans (answers by id, as shown) should be carried out; None means none of them."""

    prompt_id: str
    annotator: str
    options: tuple[str, ...]
    chosen: str | None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Preference:
    """A chosen and a rejected answer to one dialogue: the form that files on disk mostly have.

    `strength` says how much better the chosen one is, `probability` how sure that is: 1/2 is a tie.
    """

    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    strength: float = 1.0
    id: str = ""
    source: str = ""
    criterion: str = "overall"
    probability: float = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """One annotator's view of several answers to one dialogue, whole: order, ties and marks.

    `ranks` (0 is best, equal ranks are a tie) and `ratings` (more is better) hold one value an answer, or none
    where they were not asked for. `strength` and `probability` belong to a choice between two answers.
    """

    messages: tuple[Message, ...]
    answers: tuple[str, ...]
    ranks: tuple[int, ...] = ()
    ratings: tuple[float, ...] = ()
    strength: float = 1.0
    probability: float = 1.0
    criterion: str = "overall"
    id: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Solution:
    """An answer in steps, each with a label: 1 right, 0 neutral, -1 wrong; or with `chances` of being right.

    None is a step of which nobody said anything. Steps after the first wrong one need no label: `labels` and
    `chances` may be shorter than `steps`.
    """

    messages: tuple[Message, ...]
    steps: tuple[str, ...]
    labels: tuple[int | None, ...] = ()
    chances: tuple[float | None, ...] = ()
    id: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Rated:
    """One answer and how good it is: a label (0 or 1), a mark, or the share of comparisons that it won."""

    messages: tuple[Message, ...]
    answer: str
    rating: float
    source: str = ""


@dataclass(frozen=True, slots=True)
class Grade:
    """A judge's view of one answer. Each criterion and the total lie in [0, 1], higher is better."""

    helpful: float
    honest: float
    harmless: float
    total: float
