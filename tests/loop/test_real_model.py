"""The loop on a real pretrained model and real judgements, cut to a size for tests."""

import gzip
import json
from itertools import islice
from pathlib import Path

import pytest

from heedful import loop, recipes, settings

WORDS = [
    "sft.learning_rate=1e-3",
    "reward.learning_rate=1e-3",
    "rl.learning_rate=1e-4",
    "rl.iterations=2",
    "rl.prompts_per_step=8",
    "rl.max_completion_length=24",
    "evaluate.max_completion_length=24",
    "evaluate.max_prompts=20",
]


@pytest.mark.slow
@pytest.mark.shared
def test_the_loop_runs_on_a_real_model_and_human_preferences(shared: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    with gzip.open(shared / "data" / "hh_rlhf" / "harmless_pairs.jsonl.gz", "rt", encoding="utf-8") as file:
        pairs.write_text("".join(islice(file, 200)), encoding="utf-8")
    words = [f"model={shared / 'models' / 'stories260K'}", f"prompts={pairs}", f"preferences={pairs}"]
    values = settings.merge(
        recipes.find("local"), settings.parse([*words, *WORDS, f"output={tmp_path / 'run'}"])
    )
    loop.run(settings.build(loop.LoopConfig, values, what="loop"))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    accuracy = summary["figures"]["reward/heldout_accuracy"]
    assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
    assert 0 < summary["figures"]["rl/kl"]["n"] <= 20  # those that leave room in a context of 512
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
