"""People's work: the queue of questions, annotators against gold, figures about their judgements. No torch."""

from heedful.people.queue import Queue
from heedful.people.records import (
    Answered,
    Assignment,
    Batch,
    BatchSettings,
    Conflict,
    Mine,
    NewTask,
    Nothing,
    Progress,
    Said,
    Shown,
    Stop,
    TaskLine,
)
from heedful.people.replies import FlagMark, OtherStep, Reply
from heedful.people.standing import Standing, grade_demonstration, pause, resume, standings

__all__ = [
    "Answered",
    "Assignment",
    "Batch",
    "BatchSettings",
    "Conflict",
    "FlagMark",
    "Mine",
    "NewTask",
    "Nothing",
    "OtherStep",
    "Progress",
    "Queue",
    "Reply",
    "Said",
    "Shown",
    "Standing",
    "Stop",
    "TaskLine",
    "grade_demonstration",
    "pause",
    "resume",
    "standings",
]
