"""Every figure of docs/panels.md in one command: `python benchmarks/panels.py [--output DIR] [--shared DIR]`.

It begins with nothing: the world's files, a tokenizer, a base model that has learnt to copy, then the study, whose
models read and write all the rest. Each step is a verb of the command line and is not run again once it is done, so a
run that was stopped goes on with the same command. The results lie in panels.json beside this file, the plots in docs/.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TRAINING = ["optimizer=muon", "learning_rate=2e-3", "matrix_learning_rate=0.01", "tokens_per_step=2048"]
TWO_PARTS = ["write=1", "update=0.6", "plan=0.2", "read=0.4", "partial=0.2"]
SEEDS = 3


def heedful(output: Path, *words: str) -> dict[str, Any]:
    """Run a verb, and return the result that it left in its folder."""
    command = [sys.executable, "-m", "heedful", *words, f"output={output}"]
    subprocess.run(command, check=True)
    return dict(json.loads((output / "stage.json").read_text(encoding="utf-8"))["result"])


def base(out: Path) -> dict[str, Any]:
    """Files of the world, and the model that all arms begin from: it has seen no panel with its passage."""
    files = out / "world"
    found = {"world": heedful(files, "panel", "world", "demo", "stories=3000", "test_stories=60")}
    heedful(out / "tokenizer", "tokenizer", "demo", f"data={files}/words.jsonl", "vocab_size=900")
    texts = [f"data={files}/text.jsonl", f"heldout={files}/heldout_text.jsonl"]
    tokenizer = f"tokenizer={out}/tokenizer/tokenizer"
    found["base"] = heedful(out / "base", "pretrain", "demo", *texts, tokenizer, "max_length=320")
    return found


def steps(out: Path) -> list[str]:
    """The world's steps, to learn from and held out."""
    return [f"data={out}/world/steps.jsonl", f"heldout={out}/world/test_steps.jsonl"]


def study(out: Path) -> dict[str, Any]:
    """The claim: the four arms from the same base, on as many tokens each."""
    sizes = [f"seeds={SEEDS}", "epochs=0.12", "max_length=260", "passages=300"]
    words = ["panel", "study", "demo", f"model={out}/base/model", *steps(out), *TRAINING, *TWO_PARTS, *sizes]
    return {"study": heedful(out / "study", *words)}


def main() -> None:
    """Run everything, and put the results together."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/panels"))
    parser.add_argument("--shared", type=Path)
    asked = parser.parse_args()
    found: dict[str, Any] = {}
    for part in (base, study):
        found |= part(asked.output)


if __name__ == "__main__":
    main()
