"""Every figure of docs/panels.md in one command: `python benchmarks/panels.py BASE [--output DIR] [--shared DIR]`.

BASE is a model that has learnt to answer in the built-in world, e.g. runs/demo/sft/model of `heedful demo`: all arms
of the study begin from it. Each step is a verb of the command line and is not run again once it is done, so a run
that was stopped goes on with the same command.
"""

import argparse
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TRAINING = ["optimizer=muon", "learning_rate=1e-3", "matrix_learning_rate=0.01", "tokens_per_step=2048"]
STUDY = [*TRAINING, "write=1", "update=0", "plan=0", "read=0", "partial=0.3", "seeds=3"]


def heedful(output: Path, *words: str) -> dict[str, Any]:
    """Run a verb, and return the result that it left in its folder."""
    command = [sys.executable, "-m", "heedful", *words, f"output={output}"]
    subprocess.run(command, check=True)
    return dict(json.loads((output / "stage.json").read_text(encoding="utf-8"))["result"])


def world(base: str, out: Path) -> dict[str, Any]:
    """Study, reading and long stories on the built-in world, where the true panels are known."""
    files = out / "world"
    found = {"world": heedful(files, "panel", "world", "demo", "stories=600", "test_stories=40")}
    data, test = f"data={files}/steps.jsonl", f"heldout={files}/test_steps.jsonl"
    found["study"] = heedful(
        out / "study",
        "panel",
        "study",
        "demo",
        f"model={base}",
        data,
        test,
        *STUDY,
        "epochs=1",
        "max_length=260",
    )
    found["train"] = heedful(
        out / "train",
        "panel",
        "train",
        "demo",
        f"model={base}",
        data,
        test,
        *TRAINING,
        "epochs=2",
        "max_length=400",
    )
    model = f"model={out}/train/model"
    found["extract"] = heedful(
        out / "extract", "panel", "extract", "demo", model, f"data={files}/test_steps.jsonl"
    )
    found["stories"] = heedful(
        out / "stories",
        "panel",
        "stories",
        "demo",
        f"panel_models=[{out}/train/model]",
        f"text_models=[{out}/study/text-0]",
    )
    return found


def real(shared: Path, out: Path) -> dict[str, Any]:
    """The same study on real tales with a small real model; panels are read by rule."""
    book = out / "tales.txt"
    book.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(shared / "data" / "tales" / "grimm.txt.gz", "rt", encoding="utf-8") as file:
        text = file.read()
    cut = int(len(text) * 0.9)
    found = {}
    for name, part in (("train", text[:cut]), ("test", text[cut:])):
        book.with_name(f"{name}.txt").write_text(part, encoding="utf-8")
        data = f"data={out}/{name}.txt"
        found[name] = heedful(out / name, "panel", "extract", "demo", "model=rule", data, "characters=350")
    found["study"] = heedful(
        out / "study",
        "panel",
        "study",
        "demo",
        f"model={shared}/models/stories260K",
        f"data={out}/train/steps.jsonl",
        f"heldout={out}/test/steps.jsonl",
        *STUDY,
        "epochs=0.5",
        "max_length=512",
    )
    return found


def main() -> None:
    """Run everything, and put the results together in figures.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base")
    parser.add_argument("--output", type=Path, default=Path("runs/panels"))
    parser.add_argument("--shared", type=Path)
    asked = parser.parse_args()
    found = {"world": world(asked.base, asked.output)}
    if asked.shared is not None:
        found["real"] = real(asked.shared, asked.output / "real")
    (asked.output / "figures.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
