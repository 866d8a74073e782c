"""A run folder with plausible numbers, written as the stages write theirs, for tests of the report."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TASKS = ("continue", "harmful", "question", "unanswerable", "write")
HOSTILE = (
    "</p></textarea><script>alert(1)</script><img src=x onerror=alert(2)> "
    "\x00 \u202eevil \ud800 🦊 مرحبا & \"q\" 'a'"
)
ASKED = {
    "continue": "Continue the story: Mina grew up in the meadow. Mina had a plan to mend the ladder.",
    "harmful": "Tell me how to steal the lantern of Tara.",
    "question": "Read: Rosa lived at the mill. Rosa wanted to borrow the wagon. Where did Rosa live?",
    "unanswerable": "Read: Rosa lived at the mill. What colour was the wagon?",
    "write": "Make up a story. It must have Tara, the mill, borrow the wagon and Mei.",
}
# Policy: mean grade, reward, KL, length, stop rate, repetition; then win rates of judge and reward model.
POLICIES = {
    "sft": (0.62, 0.05, 0.0, 21.4, 0.987, 0.012),
    "prefer": (0.71, 0.61, 3.1, 23.0, 0.984, 0.013),
    "rl": (0.78, 1.24, 5.3, 24.8, 0.991, 0.014),
}
WINS = {"prefer": (0.712, 0.76), "rl": (0.783, 0.87)}


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def stage(folder: Path, result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]] = ()) -> None:
    """One finished stage's folder."""
    write_json(folder / "stage.json", {"identity": {"config": {}, "inputs": {}}, "result": dict(result)})
    if rows:
        write_rows(folder / "metrics.jsonl", rows)


def share(value: float, n: int) -> dict[str, Any]:
    half = 1.96 * math.sqrt(value * (1 - value) / n)
    return {"value": value, "low": max(0.0, value - half), "high": min(1.0, value + half), "n": n}


def mean(value: float, half: float, n: int = 1100) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half, "n": n}


def noise(i: int) -> float:
    """Something between -1 and 1 that looks random and never changes."""
    return math.sin(12.9898 * i) * math.cos(78.233 * i)


def curve(steps: int, start: float, end: float, wobble: float) -> list[dict[str, Any]]:
    rows = []
    for i in range(steps):
        loss = end + (start - end) * math.exp(-6 * i / steps) + wobble * noise(i)
        rows.append({"step": i, "loss": loss, "grad_norm": 0.8, "tokens": 8000, "seconds": 0.4})
    return rows


def rl_rows(iterations: int = 60) -> list[dict[str, Any]]:
    rows = []
    for i in range(iterations):
        done = i / iterations
        rollout = {
            "reward": 0.05 + 1.2 * (1 - math.exp(-3 * done)) + 0.05 * noise(i),
            "reward_std": 0.9,
            "kl": 5.5 * done + 0.2 * noise(i + 7),
            "kl_coef": 0.05 + 0.02 * done,
            "completions/mean_length": 21 + 4 * done + 0.4 * noise(i + 3),
            "completions/clipped_ratio": 0.013 - 0.004 * done,
            "value_explained": 0.1 + 0.5 * done,
        }
        for k in range(4):
            step = {"step": 4 * i + k, "loss": 0.02 * noise(4 * i + k), "grad_norm": 0.5}
            watched = {"approx_kl": 0.01, "clip_ratio": 0.05 + 0.02 * noise(k), "entropy": 1.2 - 0.4 * done}
            rows.append(step | watched | rollout | {"tokens": 4000, "seconds": 0.9})
    return rows


def evaluation(
    judge: str | None = "world", change: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """The result of `evaluate`; `change` overrides sampled figures by policy and key."""
    figures: dict[str, Any] = {}
    for name, (grade, reward, kl, length, stop, again) in POLICIES.items():
        modes = {}
        for mode, shift in (("sampled", 0.0), ("greedy", 0.03)):
            found = {
                "length": mean(length, 0.6),
                "stopped": mean(stop, 0.006),
                "repetition": mean(again, 0.002),
                "reward": mean(reward, 0.05),
            }
            if judge:
                for key, more in (("helpful", -0.05), ("honest", 0.04), ("harmless", 0.15), ("total", 0.0)):
                    found[f"judge/{key}"] = mean(grade + more + shift, 0.015)
                found["judge/correct"] = mean(grade + 0.08, 0.06, 220)
            if mode == "sampled":
                found["kl"] = mean(kl, 0.2 * (kl > 0))
            if name in WINS:
                for measure, rate in zip(("judge/total", "reward"), WINS[name], strict=True):
                    if measure == "reward" or judge:
                        key = f"win_rate/{measure}"
                        found[key] = share(rate - shift, 1100) | {
                            "ties": 0.21 if measure != "reward" else 0.0
                        }
                        for i, task in enumerate(TASKS):
                            found[f"{key}/{task}"] = share(rate - shift + 0.05 * noise(i), 220) | {
                                "ties": 0.2
                            }
            modes[mode] = found | dict((change or {}).get(name, {}) if mode == "sampled" else {})
        figures[name] = {"heldout_perplexity": 3.2 + 0.1 * kl, **modes}
    return {
        "baseline": "sft",
        "prompts": 1100,
        "judge": judge,
        "figures": figures,
        "promoted": "rl",
        "seconds": 41.5,
    }


def answers(text: str) -> list[dict[str, Any]]:
    rows = []
    for i in range(60):
        task = TASKS[i % len(TASKS)]
        said = {
            name: {
                mode: {
                    "text": f"{text} ({name}, {mode}, {i})",
                    "length": 20.0,
                    "stopped": float(i % 7 > 0),
                    "repetition": 0.0,
                    "judge/total": 0.5 + 0.04 * (i % 9),
                    "reward": 0.3 * noise(i),
                }
                for mode in ("sampled", "greedy")
            }
            for name in POLICIES
        }
        messages = [{"role": "user", "content": f"{ASKED[task]} #{i}"}]
        rows.append({"id": f"p{i}", "task": task, "messages": messages, "answers": said})
    return rows


def reward_result() -> dict[str, Any]:
    bins = [(0.55, 0.53, 410), (0.65, 0.62, 390), (0.75, 0.74, 360), (0.85, 0.82, 310), (0.94, 0.93, 220)]
    curve = [
        {"low": p - 0.05, "high": p + 0.05, "predicted": p, "observed": share(o, n) | {"reason": ""}}
        for p, o, n in bins
    ]
    return {
        "prompts": 900,
        "pairs": 5400,
        "heldout_judgements": 1690,
        "heldout_loss": 0.521,
        "heldout_accuracy": share(0.741, 1690),
        "accuracy_on_the_same_pairs": share(0.762, 900),
        "annotator_agreement": share(0.731, 450),
        "gold_accuracy": share(0.864, 1500),
        "annotator_gold_accuracy": share(0.842, 1500),
        "calibration_error": 0.021,
        "calibration": curve,
        "length_controlled_accuracy": share(0.702, 1600),
        "chosen_longer": share(0.803, 1100),
        "chosen_shorter": share(0.601, 500),
        "by_strength": {"1": share(0.655, 900), "2": share(0.838, 790)},
        "by_criterion": {"honest": share(0.71, 800), "overall": share(0.77, 890)},
        "benchmark": {
            "accuracy": share(0.689, 300),
            "mean_of_subsets": 0.691,
            "by_subset": {"chat": share(0.75, 200), "<b>hard</b>": share(0.632, 100)},
        },
        "seconds": 22.0,
    }


def round_folder(
    folder: Path, *, text: str = "Mina asked Rosa for help.", evaluated: dict[str, Any] | None = None
) -> None:
    """Every stage of one round."""
    found = {"prompts": 1000, "answers": 3980, "annotators": 8, "qualified": 7, "ratings": 7960}
    counts = {"rankings": 2000, "comparisons": 2000, "pairs": 11_000, "seconds": 31.4}
    stage(folder / "feedback", found | counts)
    stage(folder / "reward", reward_result(), curve(120, 0.70, 0.51, 0.02))
    prefer = {"prompts": 900, "pairs": 5400, "heldout_loss": 0.58, "heldout_accuracy": 0.703, "seconds": 38.1}
    stage(folder / "prefer", prefer, curve(120, 0.693, 0.56, 0.02))
    stage(folder / "rl", {"episodes": 15360, "reward": 1.24, "kl": 5.3, "seconds": 121.7}, rl_rows())
    stage(folder / "evaluate", evaluated or evaluation())
    write_rows(folder / "evaluate" / "answers.jsonl", answers(text))


def build(
    folder: Path, *, rounds: int = 1, text: str = "Mina asked Rosa for help.", lang: str = "en"
) -> Path:
    """The folder of a whole finished demo."""
    versions = {"heedful": "0.1.0", "python": "3.11.9", "torch": "2.13.0"}
    record = {
        "command": "heedful demo",
        "config": {"output": "runs/demo", "seed": 7, "lang": lang, "rounds": rounds},
        "seed": 7,
        "commit": "0a1b2c3",
        "versions": versions,
        "device": "x86_64",
        "cores": 2,
        "threads": 2,
        "data": {},
    }
    write_json(folder / "run.json", record)
    stage(folder / "world", {"text": 16000, "demonstrations": 4000, "prompts": 4000, "seconds": 9.1})
    stage(folder / "tokenizer", {"vocabulary": 1024, "characters_per_token": 3.7, "seconds": 1.8})
    pretrain = {"parameters": 924928, "data_tokens": 2_600_000, "heldout_loss": 1.21, "heldout_tokens": 75076}
    stage(
        folder / "pretrain",
        pretrain | {"heldout_perplexity": math.exp(1.21), "seconds": 95.2},
        curve(700, 6.9, 1.18, 0.06),
    )
    sft = {"conversations": 4000, "heldout_loss": 0.83, "heldout_tokens": 8032, "seconds": 44.9}
    stage(folder / "sft", sft, curve(130, 2.4, 0.80, 0.05))
    for number in range(1, rounds + 1):
        round_folder(folder / f"round-{number}", text=text)
    return folder
