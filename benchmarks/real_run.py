"""A run of the demo's form from a real model and real preference pairs, for `results.py` and `preference.py`.

    python benchmarks/real_run.py MODEL PAIRS TEXTS --output runs/real-s0 [--seed 0] [--turns 1] [--max-length 384]

There is no gold judge of real answers, so a reward model on one half of the prompts stands in for it, trained from
another head than the one that is optimised, which learns from the other half (Gao et al. 2022 have a model for gold
too). The policy is MODEL fine-tuned on the chosen answers of the optimised half. A sixth of the prompts is kept for
the test, on whose pairs both reward models' accuracy is measured too. Of a prompt the last `--turns` messages are kept,
so that more pairs fit, though people judged its answers with all of it before them; 0 keeps all.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from heedful.data import chat, files, formats
from heedful.data.rows import messages_row
from heedful.engine import process
from heedful.engine.reward_model import RewardModel
from heedful.nn import hub
from heedful.stages import reward, sft
from heedful.stats.intervals import mean_interval
from heedful.types import Message, Preference, Prompt

TOKENS = 4096


def fitting(
    model: str, pairs: Sequence[Preference], turns: int, max_length: int
) -> dict[tuple[Message, ...], list[Preference]]:
    """The pairs whose longer answer fits behind the last `turns` messages of their prompt (0: all), by prompt."""
    tokenizer = hub.load_tokenizer(model)
    chat.ensure_chat_template(tokenizer)
    found: dict[tuple[Message, ...], list[Preference]] = {}
    for given in pairs:
        p = replace(given, messages=given.messages[-turns:])
        answer = max(len(chat.answer_ids(tokenizer, t)) for t in (p.chosen, p.rejected))
        if len(chat.render_prompt(tokenizer, p.messages)) + answer <= max_length:
            found.setdefault(p.messages, []).append(p)
    return found


def write(folder: Path, name: str, pairs: Sequence[Preference]) -> Path:
    """Pairs as a file; and the prompts among them."""
    formats.write_preferences(folder / f"{name}.jsonl", pairs)
    prompts = [{"messages": messages_row(m)} for m in dict.fromkeys(p.messages for p in pairs)]
    files.write_jsonl(folder / f"{name}_prompts.jsonl", prompts)
    return folder / f"{name}.jsonl"


def told_apart(source: str, pairs: Sequence[Preference]) -> dict[str, Any]:
    """How often a reward model prefers the chosen answer."""
    prompts = [Prompt(str(i), p.messages) for i, p in enumerate(pairs)]
    scores = RewardModel.load(source).scores(prompts, [[p.chosen, p.rejected] for p in pairs])
    found = mean_interval([float(a > b) for a, b in scores])
    return {"value": found.value, "low": found.low, "high": found.high}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("pairs", type=Path)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--max-length", type=int, default=384)
    given = parser.parse_args()
    process.prepare()
    world = given.output / "world"
    world.mkdir(parents=True, exist_ok=True)
    pairs = fitting(given.model, formats.read_preferences(given.pairs), given.turns, given.max_length)
    asked = list(pairs)
    order = [asked[i] for i in np.random.default_rng(given.seed).permutation(len(asked))]
    cuts = (len(order) // 6, len(order) * 7 // 12)
    kept, own, gold = ([p for m in order[i:j] for p in pairs[m]] for i, j in pairwise((0, *cuts, len(order))))
    write(world, "test", kept)
    data = write(world, "own", own)
    (world / "own_prompts.jsonl").rename(world / "prompts.jsonl")
    feedback = given.output / "round-1" / "feedback"
    feedback.mkdir(parents=True, exist_ok=True)
    formats.write_preferences(feedback / "preferences.jsonl", own)
    texts = [{"text": t} for t in formats.read_texts(given.texts, limit=2000)]
    files.write_jsonl(world / "text.jsonl", texts[:1900])
    files.write_jsonl(world / "heldout_text.jsonl", texts[1900:])
    how = {"seed": given.seed, "tokens_per_step": TOKENS, "max_length": given.max_length}
    tuned = given.output / "sft"
    values: dict[str, Any] = {**how, "learning_rate": 1e-3, "epochs": 3}
    sft.main(sft.SftConfig(output=tuned, model=given.model, data=data, **values))
    found = {}
    for name, some, seed in (("reward", own, given.seed), ("gold", gold, given.seed + 1000)):
        folder = given.output / "round-1" / name
        judged = write(world, name, some)
        values = {**how, "seed": seed, "head": "likelihood", "learning_rate": 1e-3, "epochs": 2}
        reward.main(reward.RewardConfig(output=folder, model=given.model, data=judged, **values))
        found[name] = told_apart(str(folder / "model"), kept)
    told = {"seed": given.seed, "gold": f"reward:{given.output / 'round-1' / 'gold' / 'model'}", "length": 64}
    counts = {"test": len(kept), "own": len(own), "gold": len(gold)}
    (given.output / "run.json").write_text(json.dumps({**told, "pairs": counts, "accuracy": found}, indent=1))
    print(json.dumps({"pairs": counts, "accuracy": found}, indent=1))


if __name__ == "__main__":
    main()
