"""The shapes of rows that people have, each parsed into one: a prompt and answers to it, best first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from heedful.data.files import Row
from heedful.data.messages import Skip, as_message, as_messages, checked_turns, transcript
from heedful.data.wording import kind, listed, shown
from heedful.errors import UserError, nearest
from heedful.types import Message


@dataclass(frozen=True, slots=True)
class Sample:
    """A prompt that ends with the user's turn, and no, one or several answers, best first.

    `label` is False for an answer that people marked as bad, True for a good one, None if nobody said.
    """

    prompt: tuple[Message, ...]
    answers: tuple[str, ...] = ()
    label: bool | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """Rows that have all of `columns`."""

    columns: tuple[str, ...]
    parse: Callable[[Row], Sample]

    def check(self, row: Row) -> None:
        """Raise a UserError for the first column that the row lacks."""
        for column in self.columns:
            if column not in row.data:
                raise _missing(row, column, self.columns)


def choose(row: Row, shapes: Sequence[Shape], purpose: str) -> Shape:
    """The first shape that the row has; else the error names the column that comes nearest."""
    for shape in shapes:
        if all(column in row.data for column in shape.columns):
            return shape
    likeness = [_likeness(row, shape) for shape in shapes]
    if max(likeness) > 0:
        best = shapes[likeness.index(max(likeness))]
        best.check(row)
    forms = ", or ".join(" + ".join(shape.columns) for shape in shapes)
    raise UserError(
        f"{row.where} has the columns {listed(row.data) or '(none)'}, but {purpose} need {forms}."
    )


def _likeness(row: Row, shape: Shape) -> int:
    return sum(
        2 if column in row.data else bool(get_close_matches(column, row.data, n=1))
        for column in shape.columns
    )


def _missing(row: Row, column: str, wanted: Sequence[str]) -> UserError:
    others = [name for name in row.data if name not in wanted]
    return UserError(
        f"{row.where} has no column '{column}'; its columns are {listed(row.data) or '(none)'}."
        + nearest(column, others)
    )


def text_of(row: Row, column: str) -> str:
    """A column that must be text."""
    value = row.data[column]
    if not isinstance(value, str):
        raise UserError(f"{row.where}: '{column}' is {kind(value)}, but it must be text.")
    return value


def _optional_text(row: Row, column: str) -> str:
    return "" if row.data.get(column) is None else text_of(row, column)


def _dialogue(row: Row, column: str) -> tuple[Message, ...]:
    return _with_system(row, as_messages(row.data[column], f"{row.where}: '{column}'"))


def _with_system(row: Row, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    system = _optional_text(row, "system")
    if not system.strip() or (messages and messages[0].role == "system"):
        return messages
    return (Message("system", system), *messages)


def _from_dialogue(column: str) -> Callable[[Row], Sample]:
    """`messages` or `conversations`: the last assistant message is the answer."""

    def parse(row: Row) -> Sample:
        messages = checked_turns(_dialogue(row, column))
        if messages[-1].role == "user":
            return Sample(messages, (), _label(row))
        return Sample(messages[:-1], (messages[-1].content,), _label(row))

    return parse


def _prompt(row: Row) -> tuple[Message, ...]:
    """The column `prompt`: text, a transcript that ends with "Assistant:", or a list of messages."""
    value = row.data["prompt"]
    if isinstance(value, str):
        turns = transcript(value)
        if turns is None:
            return _user_turn(row, value)
        return checked_turns(turns[:-1] if not turns[-1].content else turns)
    if not isinstance(value, list):
        raise UserError(f"{row.where}: 'prompt' is {kind(value)}, but it must be text or a list of messages.")
    return checked_turns(_dialogue(row, "prompt"))


def _user_turn(row: Row, text: str) -> tuple[Message, ...]:
    return checked_turns(_with_system(row, (Message("user", text),)))


def _from_prompt(row: Row) -> Sample:
    return _asked(_prompt(row))


def _from_completion(row: Row) -> Sample:
    prompt, answer = _reply(row, "completion", _prompt(row))
    return Sample(_asked(prompt).prompt, (answer,), _label(row))


def _from_pair(row: Row) -> Sample:
    prompt = _prompt(row) if "prompt" in row.data else None
    return _pair(row, prompt)


def _from_sharegpt_pair(row: Row) -> Sample:
    return _pair(row, checked_turns(_dialogue(row, "conversations")))


def _pair(row: Row, prompt: tuple[Message, ...] | None) -> Sample:
    before, chosen = _reply(row, "chosen", prompt)
    other, rejected = _reply(row, "rejected", prompt)
    if before != other:
        raise Skip("the two dialogues differ before their last reply")
    return Sample(_asked(checked_turns(before)).prompt, (chosen, rejected))


def _reply(row: Row, column: str, prompt: tuple[Message, ...] | None) -> tuple[tuple[Message, ...], str]:
    """The answer in `column` and the messages before it, which it may bring along itself."""
    value, where = row.data[column], f"{row.where}: '{column}'"
    if isinstance(value, str) and prompt is not None:
        return prompt, value
    if isinstance(value, str):
        turns = transcript(value)
        if turns is None:
            raise UserError(f"{where} is text without Human: and Assistant: turns; add a column 'prompt'.")
    elif isinstance(value, dict):
        turns = (as_message(value, where),)
    elif isinstance(value, list):
        turns = as_messages(value, where)
    else:
        raise UserError(f"{where} is {kind(value)}, but it must be text or a list of messages.")
    return _split(turns, prompt, where)


def _split(
    turns: tuple[Message, ...], prompt: tuple[Message, ...] | None, where: str
) -> tuple[tuple[Message, ...], str]:
    if not turns:
        raise UserError(f"{where} has no messages.")
    if turns[-1].role != "assistant":
        raise Skip("no answer at the end")
    before = turns[:-1]
    if prompt is not None and before not in ((), prompt):
        raise Skip("the answer does not continue the prompt")
    if prompt is None and not before:
        raise UserError(f"{where} has no message before the answer, so a column 'prompt' is needed.")
    return before or prompt or (), turns[-1].content


def _asked(prompt: tuple[Message, ...]) -> Sample:
    if prompt[-1].role != "user":
        raise Skip("the prompt does not end with the user's turn")
    return Sample(prompt)


def _from_alpaca(row: Row) -> Sample:
    """`instruction`, `input`, `history` ([question, answer] pairs); `output` may be a ranked list."""
    asked, extra = text_of(row, "instruction"), _optional_text(row, "input")
    turns = [*_history(row), Message("user", f"{asked}\n{extra}" if extra.strip() else asked)]
    prompt = checked_turns(_with_system(row, tuple(turns)))
    output = row.data.get("output")
    if not isinstance(output, list):
        return Sample(prompt, (text_of(row, "output"),) if "output" in row.data else ())
    if not all(isinstance(text, str) for text in output):
        raise UserError(f"{row.where}: 'output' is a list, but not all of it is text.")
    return Sample(prompt, tuple(output))


def _history(row: Row) -> list[Message]:
    turns: list[Message] = []
    for turn in row.data.get("history") or []:
        if not (isinstance(turn, list) and len(turn) == 2 and all(isinstance(text, str) for text in turn)):
            raise UserError(f"{row.where}: 'history' holds {shown(turn)}, but not [question, answer] pairs.")
        turns += [Message("user", turn[0]), Message("assistant", turn[1])]
    return turns


def _from_answers(row: Row) -> Sample:
    """`answers`: several answers in the order that `ranking` or `ratings` speak of."""
    answers = row.data["answers"]
    if row.data.get("ranking") is None and row.data.get("ratings") is None:
        raise UserError(f"{row.where} has 'answers', but neither a 'ranking' nor 'ratings' of them.")
    if not (isinstance(answers, list) and all(isinstance(text, str) for text in answers)):
        raise UserError(f"{row.where}: 'answers' is {kind(answers)}, but it must be a list of texts.")
    return Sample(_asked(_prompt(row)).prompt, tuple(answers))


def _from_steps(row: Row) -> Sample:
    """`steps` or, as in TRL's stepwise supervision, `completions`: the steps of one answer."""
    name = "steps" if "steps" in row.data else "completions"
    steps = row.data[name]
    if not (isinstance(steps, list) and steps and all(isinstance(text, str) for text in steps)):
        raise UserError(f"{row.where}: '{name}' is {kind(steps)}, but it must be a list of texts.")
    return Sample(_asked(_prompt(row)).prompt, tuple(steps))


def _from_question(row: Row) -> Sample:
    answers = (text_of(row, "answer"),) if "answer" in row.data else ()
    return Sample(_user_turn(row, text_of(row, "question")), answers)


def _from_text(row: Row) -> Sample:
    return Sample(_user_turn(row, text_of(row, "text")))


def _label(row: Row) -> bool | None:
    """KTO's `label`; a label that is neither true nor false belongs to another task."""
    label = row.data.get("label")
    words = {"true": True, "false": False}  # a CSV file has no other way to say it
    return label if isinstance(label, bool) else words.get(str(label).lower())


TEXT = (Shape(("text",), _from_text),)
_PAIRS = (
    Shape(("conversations", "chosen", "rejected"), _from_sharegpt_pair),
    Shape(("prompt", "chosen", "rejected"), _from_pair),
    Shape(("chosen", "rejected"), _from_pair),
)
PREFERENCES = (*_PAIRS, Shape(("instruction", "output"), _from_alpaca))
VERDICTS = (*PREFERENCES, Shape(("prompt", "answers"), _from_answers))
STEPS = (
    Shape(("prompt", "steps"), _from_steps),
    Shape(("prompt", "completions"), _from_steps),
)
CONVERSATIONS = (
    Shape(("messages",), _from_dialogue("messages")),
    Shape(("prompt", "completion"), _from_completion),
    *_PAIRS,
    Shape(("conversations",), _from_dialogue("conversations")),
    Shape(("instruction", "output"), _from_alpaca),
    Shape(("question", "answer"), _from_question),
)
PROMPTS = (
    Shape(("messages",), _from_dialogue("messages")),
    Shape(("conversations",), _from_dialogue("conversations")),
    Shape(("prompt",), _from_prompt),
    Shape(("chosen", "rejected"), _from_pair),
    Shape(("instruction",), _from_alpaca),
    Shape(("question",), _from_question),
)
