"""A few prompts with every policy's answer, side by side, chosen without looking at the result."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heedful.report import style
from heedful.report.figures import Outcome
from heedful.report.view import View
from heedful.report.wording import clean

COUNT = 10
LONGEST = 1500  # characters shown of a message or an answer


@dataclass(frozen=True)
class Spoken:
    """One policy's answer: `notes` are its marks and whether it was cut."""

    policy: str
    role: str
    text: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Sample:
    """A prompt of a task with its answers."""

    task: str
    messages: tuple[tuple[str, str], ...]
    answers: tuple[Spoken, ...]


def choose(path: Path, count: int = COUNT) -> list[dict[str, Any]]:
    """`count` rows of answers.jsonl: from each task in turn, within a task in the order of the prompts' hashes."""
    by_task: dict[str, list[tuple[str, str]]] = {}
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                asked = json.dumps(row["messages"], sort_keys=True)
                by_task.setdefault(row["task"], []).append((hashlib.sha256(asked.encode()).hexdigest(), line))
    places = [(rank, task, row) for task, rows in by_task.items() for rank, row in enumerate(sorted(rows))]
    chosen = sorted(sorted(places)[:count], key=lambda place: place[1])
    return [json.loads(line) for _, _, (_, line) in chosen]


def samples(view: View, outcome: Outcome) -> Iterator[Sample]:
    """The chosen prompts, ready to be shown."""
    order = [outcome.baseline, *reversed(view.ranked(outcome))]
    for row in choose(view.run.stages["evaluate"].folder / "answers.jsonl"):
        messages = tuple(
            (view.words.named("role", m["role"]), shortened(m["content"])) for m in row["messages"]
        )
        answers = tuple(
            spoken(view, name, row["answers"][name]["sampled"])
            for name in order
            if "sampled" in row["answers"].get(name, {})
        )
        yield Sample(view.words.named("task", row["task"]), messages, answers)


def spoken(view: View, policy: str, answer: dict[str, Any]) -> Spoken:
    """One answer with its marks."""
    words, notes = view.words, []
    for key, measure in (("mark", "judge/total"), ("score", "reward")):
        if answer.get(measure) is not None:
            notes.append(words(key, value=f"{answer[measure]:.2f}"))
    if answer.get("stopped", 1.0) < 1:
        notes.append(words("cut"))
    text = shortened(answer["text"]) or words("empty")
    return Spoken(view.policy(policy), style.role(policy), text, tuple(notes))


def shortened(text: str) -> str:
    """Text that is safe and not too long to show."""
    text = clean(text.strip())
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"
