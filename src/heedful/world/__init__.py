"""The built-in world: short stories with a known truth, tasks, a gold judge, and simulated people."""

from heedful.world.annotators import Annotator, annotators
from heedful.world.built_in import World
from heedful.world.demonstrators import MODES, demonstrate
from heedful.world.judge import core_correct, grade
from heedful.world.outcomes import OUTCOMES, outcome
from heedful.world.tasks import TASKS

__all__ = [
    "MODES",
    "OUTCOMES",
    "TASKS",
    "Annotator",
    "World",
    "annotators",
    "core_correct",
    "demonstrate",
    "grade",
    "outcome",
]
