"""What the tests of the command line share."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QUESTIONS = ("Who has the lamp?", "Where is the boat?", "Why does Mira wait?", "What did Tom promise?")
ANSWERS = ("Mira has it.", "It lies in the bay.", "The story does not say.", "He will come back.")


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


Heedful = Callable[..., Outcome]
Typed = Callable[[str, Path], list[str]]


def tree(folder: Path) -> dict[str, int]:
    """Everything below a folder, with its time of change."""
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted(folder.rglob("*"))}


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
