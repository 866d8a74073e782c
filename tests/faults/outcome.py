"""What a finished loop must have come to, whatever happened on the way."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from heedful.data.store.store import Store

# Files that are the same, byte for byte, in every run of the same loop.
SAME = (
    "*.safetensors",
    "tokenizer.json",
    "config.json",
    "world/*.jsonl",
    "preferences.jsonl",
    "answers.jsonl",
)
TIMES = {"seconds"}


def outcome(folder: Path) -> dict[str, Any]:
    """Digests of weights and files, every metric, every stage's figures, and what the store counts."""
    found: dict[str, Any] = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in SAME
        for path in sorted(folder.rglob(pattern))
    }
    for path in sorted(folder.rglob("metrics.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert [row["step"] for row in rows] == list(range(len(rows))), path
        found[str(path.relative_to(folder))] = [without_times(row) for row in rows]
    for path in sorted(folder.rglob("stage.json")):
        found[str(path.relative_to(folder))] = without_times(json.loads(path.read_text())["result"])
    found["judgements"] = judgements(folder / "feedback.db")
    return found


def without_times(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in TIMES}


def judgements(path: Path) -> dict[str, int]:
    """How often each judgement stands in the store's journal, by what it says."""
    with Store.open(path, create=False) as store:
        return Counter(
            json.dumps([e.kind, e.annotator, e.item, e.criterion, e.payload], sort_keys=True)
            for e in store.events()
        )


def left_overs(folder: Path) -> list[str]:
    """What only an unfinished run needs."""
    names = ("partial-*", "old-*", "checkpoint-*", "*.partial")
    return sorted(str(path.relative_to(folder)) for name in names for path in folder.rglob(name))
