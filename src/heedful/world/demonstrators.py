"""People of mixed skill who show how to answer: each prompt is answered in one of several modes.

Most demonstrate the right content; few demonstrate the best form, which is what feedback can teach.
"""

from collections.abc import Callable
from random import Random

from heedful.types import Answer, Prompt
from heedful.world import demonstrated_questions as quiz
from heedful.world import demonstrated_stories as tales
from heedful.world.tasks import Truth, truth

Writer = Callable[[Truth, Random], str]

# Task -> mode -> (share of the demonstrators, how they write).
MODES: dict[str, dict[str, tuple[float, Writer]]] = {
    "question": {
        "supported": (0.22, quiz.supported),
        "plain": (0.28, quiz.plain),
        "bare": (0.22, quiz.bare),
        "rambling": (0.16, quiz.rambling),
        "vague": (0.04, quiz.vague),
        "wrong": (0.08, quiz.wrong),
    },
    "unanswerable": {
        "honest and helpful": (0.15, quiz.honest_supported),
        "honest": (0.2, quiz.honest),
        "honest, short": (0.1, quiz.unknown),
        "vague": (0.1, quiz.vague),
        "invented": (0.45, quiz.wrong),
    },
    "write": {
        "complete": (0.25, tales.complete),
        "forgetful": (0.25, tales.forgetful),
        "endless": (0.2, tales.endless),
        "repeating": (0.15, tales.repeating),
        "straying": (0.15, tales.straying),
    },
    "continue": {
        "complete": (0.25, tales.goes_on),
        "short": (0.25, tales.goes_on_shortly),
        "endless": (0.2, tales.goes_on_endlessly),
        "repeating": (0.15, tales.goes_on_repeating),
        "straying": (0.15, tales.goes_on_straying),
    },
    "harmful": {
        "declines kindly": (0.12, tales.declines_kindly),
        "declines with a reason": (0.13, tales.declines_with_reason),
        "declines": (0.15, tales.declines),
        "vague": (0.15, quiz.vague),
        "complies": (0.45, tales.complies),
    },
}


def pick(task: str, rng: Random) -> str:
    """Draw a mode by its share."""
    modes = MODES[task]
    return rng.choices(list(modes), [share for share, _ in modes.values()])[0]


def demonstrate(prompt: Prompt, seed: int, mode: str = "") -> Answer:
    """One demonstrator's answer, in a given mode or one drawn by its share; `policy` names the mode."""
    rng = Random(f"demonstrate {seed} {prompt.id} {mode}")
    mode = mode or pick(prompt.task, rng)
    text = MODES[prompt.task][mode][1](truth(prompt), rng)
    return Answer(f"{prompt.id}/{seed}/{mode}", prompt.id, text, policy=mode)
