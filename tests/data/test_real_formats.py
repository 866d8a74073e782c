"""The importers on real files: how many rows are read, and why the others are not."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from heedful.data.files import read_rows
from heedful.data.formats import read_conversations, read_preferences, read_prompts, read_texts
from heedful.data.rated import read_rated

pytestmark = pytest.mark.shared

EXPECTED: list[tuple[str, Any, int, dict[str, int]]] = [
    ("alpaca_en_zh/alpaca_en_zh.jsonl.gz", read_conversations, 51_953, {"empty answer": 49}),
    ("alpaca_eval/pairs.jsonl.gz", read_preferences, 15_000, {}),
    ("alpaca_eval/pairs.jsonl.gz", read_prompts, 600, {"repeated prompt": 14_400}),
    ("best_of_16/best_of_16.jsonl.gz", read_prompts, 600, {}),
    ("classics_zh/sanguo_yanyi.txt.gz", read_texts, 1, {}),
    ("gsm8k/train.jsonl.gz", read_conversations, 7_473, {}),
    ("gsm8k/test.jsonl.gz", read_prompts, 1_319, {}),
    ("hanna/prompts_human.jsonl.gz", read_prompts, 96, {}),
    (
        "hh_rlhf/harmless_pairs.jsonl.gz",
        read_preferences,
        1_592,
        {
            "equal or empty answers": 4,
            "user and assistant do not take turns": 3,
            "the two dialogues differ before their last reply": 1,
        },
    ),
    ("novels_en/Hardy_Tess_1891.txt.gz", read_texts, 1, {}),
    ("pandalm/pairs_3_annotators.jsonl.gz", read_prompts, 170, {"repeated prompt": 829}),
    ("sampled_tales.jsonl.gz", read_texts, 10_820, {}),
    ("tales/openings.txt.gz", read_prompts, 300, {}),
    ("tales/tinystories_real.jsonl.gz", read_texts, 16, {}),
    ("zh_preferences/dpo_zh.jsonl.gz", read_preferences, 300, {}),
    ("zh_preferences/kto_en.jsonl.gz", read_conversations, 150, {"labelled as a bad answer": 150}),
    ("zh_preferences/kto_en.jsonl.gz", read_rated, 300, {}),
    ("zh_preferences/oaast_rm_zh.jsonl.gz", read_preferences, 1_803, {"equal or empty answers": 3}),
]


@pytest.mark.parametrize(("name", "read", "count", "reasons"), EXPECTED)
def test_counts_of_real_files(
    shared: Path, name: str, read: Any, count: int, reasons: dict[str, int]
) -> None:
    skipped: Counter[str] = Counter()
    assert len(read(shared / "data" / name, skipped=skipped)) == count
    assert skipped == reasons


def test_hh_transcripts_keep_every_word(shared: Path) -> None:
    """Put together again, the turns are the transcript, but for white space around them."""
    path = shared / "data" / "hh_rlhf" / "harmless_pairs.jsonl.gz"
    originals = {re.sub(r"\s+", "", row.data["chosen"]) for row in read_rows(path)}
    for preference in read_preferences(path):
        turns = [*((m.role, m.content) for m in preference.messages), ("assistant", preference.chosen)]
        text = "".join(f"{'Human' if role == 'user' else 'Assistant'}:{said}" for role, said in turns)
        assert re.sub(r"\s+", "", text) in originals


def test_ratings_of_real_judgements_are_labels_and_shares_of_comparisons(shared: Path) -> None:
    labels = read_rated(shared / "data" / "zh_preferences" / "kto_en.jsonl.gz")
    assert sorted({r.rating for r in labels}) == [0, 1]
    ranked = read_rated(shared / "data" / "zh_preferences" / "oaast_rm_zh.jsonl.gz")
    groups: dict[object, list[float]] = {}
    for r in ranked:
        groups.setdefault(r.messages, []).append(r.rating)
    best = [max(g) == 1 and min(g) == 0 for g in groups.values()]
    assert sum(best) > 0.9 * len(best)  # the same prompt may stand in several rows
