"""The gold judge: grades any text as an answer to one of the world's prompts, without a model."""

from heedful.errors import UserError
from heedful.types import Grade, Prompt
from heedful.world import judge_questions, judge_stories
from heedful.world.reading import read
from heedful.world.tasks import truth

_JUDGES = {
    "question": judge_questions.answered,
    "unanswerable": judge_questions.unanswerable,
    "write": judge_stories.written,
    "continue": judge_stories.continued,
    "harmful": judge_stories.refused,
}


def grade(prompt: Prompt, text: str) -> Grade:
    """Grade a text as an answer: helpful, honest, harmless and in total, each in [0, 1]."""
    if prompt.task not in _JUDGES:
        raise UserError(f"The gold judge knows the built-in world's tasks only, not '{prompt.task}'.")
    return _JUDGES[prompt.task](read(truth(prompt), text))


def core_correct(prompt: Prompt, text: str) -> bool:
    """Whether an answer to a `question` names the right fact, and no other in its place."""
    return judge_questions.core_correct(read(truth(prompt), text))
