"""What keeping tokens gives: rendering and building trees without it, when the file is made, and afterwards.

    python benchmarks/tokens.py FILE [REPEATS]

FILE holds conversations in any known format; the tokenizer is a byte-level BPE of 16,384 trained on its first 8,000.
Time is the process's own CPU time in seconds: medians, with the least and the most.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heedful.data import chat
from heedful.data.formats import read_conversations
from heedful.data.remembered import remembered
from heedful.engine.dialogues import conversations, documents
from heedful.engine.tokenizer import train_bpe

Build = Callable[[Any], Any]


def seconds(tokenizer: Any, build: Build) -> float:
    began = time.process_time()
    build(tokenizer)
    return time.process_time() - began


def main(path: Path, repeats: int = 3) -> None:
    dialogues = read_conversations(path)
    texts = [m.content for d in dialogues for m in d.messages]
    tokenizer = train_bpe([m.content for d in dialogues[:8000] for m in d.messages], 16384)
    chat.ensure_chat_template(tokenizer)
    works: dict[str, Build] = {
        "dialogues": lambda t: conversations(t, dialogues, 2048),
        "texts": lambda t: documents(t, texts, 512),
    }

    def kept(build: Build, name: str) -> float:
        began = time.process_time()
        with remembered(tokenizer, [name]) as reader:
            build(reader)
        return time.process_time() - began

    for name, build in works.items():
        found: dict[str, list[float]] = {"without": [], "first": [], "then": []}
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as folder:
                os.environ["HEEDFUL_CACHE"] = folder
                found["without"].append(seconds(tokenizer, build))
                found["first"].append(kept(build, name))
                found["then"].append(kept(build, name))
        for how, values in found.items():
            print(
                f"{name:<10} {how:<8} {statistics.median(values):6.2f} [{min(values):.2f}, {max(values):.2f}]"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
