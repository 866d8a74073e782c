"""Run the demo afresh for several seeds and print what it must reach: time, memory, win rates, agreement.

    python benchmarks/demo.py [--seeds 0 1 2] [--lang en] [key=value ...]

Writes benchmarks/demo.json (the summaries) and prints a Markdown table for docs/results.md.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FIGURES = (
    ("rl/win_rate_vs_sft", "RL against SFT, gold judge, temperature 1"),
    ("rl/win_rate_vs_sft_greedy", "RL against SFT, gold judge, greedy"),
    ("prefer/win_rate_vs_sft", "DPO against SFT, gold judge, temperature 1"),
    ("prefer/win_rate_vs_sft_greedy", "DPO against SFT, gold judge, greedy"),
    ("rl/stop_rate", "RL stops by itself"),
    ("rl/length", "RL answer length, tokens"),
    ("sft/length", "SFT answer length, tokens"),
    ("rl/repetition", "RL repeated 4-grams"),
    ("sft/repetition", "SFT repeated 4-grams"),
    ("rl/kl", "RL KL to SFT, nats"),
    ("reward/accuracy_on_the_same_pairs", "reward model, held-out pairs that two annotators judged"),
    ("feedback/annotator_agreement", "two annotators on the same pairs"),
    ("pretrain/heldout_perplexity", "held-out perplexity of the base model"),
)


def run(seed: int, lang: str, words: list[str]) -> dict[str, Any]:
    """One demo in a folder of its own; its summary with the wall-clock seconds of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["demo", f"seed={seed}", f"lang={lang}", f"output={folder}/demo", *words]
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "heedful", *command], check=True)
        seconds = time.perf_counter() - began
        summary: dict[str, Any] = json.loads(Path(folder, "demo", "summary.json").read_text())
    summary["seconds"]["whole command"] = round(seconds, 1)
    return summary


def cell(figure: dict[str, Any] | None) -> str:
    """A figure with its interval."""
    if figure is None or figure["value"] is None:
        return "-"
    value = f"{figure['value']:.3f}"
    return value if figure.get("low") is None else f"{value} [{figure['low']:.3f}, {figure['high']:.3f}]"


def table(summaries: list[dict[str, Any]]) -> str:
    """All seeds side by side."""
    lines = ["| figure | " + " | ".join(f"seed {s['seed']}" for s in summaries) + " |"]
    lines.append("|---|" + "---|" * len(summaries))
    for name, text in FIGURES:
        cells = [cell(s["figures"].get(name)) for s in summaries]
        lines.append(f"| {text} | " + " | ".join(cells) + " |")
    for stage in summaries[0]["seconds"]:
        cells = [f"{s['seconds'].get(stage, 0):.0f} s" for s in summaries]
        lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    memory = [f"{s['peak_memory_bytes'] / 2**30:.2f} GiB" for s in summaries]
    lines.append("| peak memory | " + " | ".join(memory) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--lang", default="en")
    known, words = parser.parse_known_args()
    summaries = [run(seed, known.lang, words) for seed in known.seeds]
    suffix = "" if known.lang == "en" else f"-{known.lang}"
    Path(__file__).with_name(f"demo{suffix}.json").write_text(json.dumps(summaries, indent=1) + "\n")
    print(table(summaries))


if __name__ == "__main__":
    main()
