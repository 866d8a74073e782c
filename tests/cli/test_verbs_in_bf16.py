"""Every verb that trains does so with `precision=bf16`, and leaves models that anything opens."""

import json
import math
from pathlib import Path

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file

from cli.kit import Heedful, Typed
from heedful.nn import hub

MODELS = {
    "pretrain": ["model"],
    "sft": ["model"],
    "reward": ["model"],
    "rl": ["model", "critic"],
    "prefer": ["model"],
}


@pytest.mark.parametrize("verb", MODELS)
def test_a_verb_trains_in_bf16(heedful: Heedful, typed: Typed, tmp_path: Path, verb: str) -> None:
    output = tmp_path / "out"
    done = heedful(*typed(verb, output), "precision=bf16")
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert rows
    assert all(math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"]) for row in rows)
    for name in MODELS[verb]:
        saved = load_file(output / name / "model.safetensors")
        assert {value.dtype for value in saved.values()} == {torch.bfloat16}
        scores = verb == "reward" or name == "critic"
        kind = hf.AutoModelForSequenceClassification if scores else hf.AutoModelForCausalLM
        opened = kind.from_pretrained(output / name)
        assert opened.dtype == torch.bfloat16
        ours = (hub.load_scorer if scores else hub.load_model)(output / name)
        for parameter, expected in zip(ours.parameters(), opened.parameters(), strict=True):
            assert parameter.dtype == torch.float32
            assert torch.equal(parameter, expected.float())


def test_an_unknown_precision_is_an_error(heedful: Heedful, typed: Typed, tmp_path: Path) -> None:
    done = heedful(*typed("sft", tmp_path / "out"), "precision=fp8")
    assert done.code != 0
    assert "precision='fp8' is not right" in done.err
