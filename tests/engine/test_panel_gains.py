"""What a field of the panel saves, against a plain forward pass of the same model."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import transformers as hf

import tiny
from engine.panel_kit import STEPS, TOKENIZER, policy
from heedful.data import chat
from heedful.engine import panel_fit, panel_gains
from heedful.engine.panel_trees import Shares, encoded
from heedful.panels import requests
from heedful.panels.panel import FIELDS, Panel

ASKED = [replace(s, condition="good") if n else s for n, s in enumerate(STEPS) if s.before.plan]


def nats(shown: Callable[[Panel], Panel]) -> float:
    """Mean nats a passage under what is shown of its panel, one passage at a time."""
    config = hf.LlamaConfig(**{**tiny._COMMON, "vocab_size": len(TOKENIZER), "max_position_embeddings": 2048})
    model, total = tiny.model(config, seed=0), 0.0
    for step in ASKED:
        prompt = chat.render_prompt(TOKENIZER, requests.write(shown(step.before), step.condition))
        passage = encoded(TOKENIZER, step.passage)
        with torch.no_grad():
            logp = model(torch.tensor([[*prompt, *passage]])).logits[0].log_softmax(-1)
        rows = torch.arange(len(prompt) - 1, len(prompt) + len(passage) - 1)
        total -= float(logp[rows, torch.tensor(passage)].sum())
    return total / len(ASKED)


def test_nats_by_field_are_differences_of_plain_forward_passes() -> None:
    found = panel_gains.by_field(policy().model, TOKENIZER, ASKED)
    filled = [f for f in FIELDS if any(not s.before.empty(f) for s in ASKED)]
    assert list(found) == [*filled, "whole panel"]
    full, empty = nats(lambda p: p), nats(lambda p: p.only([]))
    for field in ("people", "plan"):
        assert found[field]["alone"] == pytest.approx(empty - nats(lambda p, f=field: p.only([f])), abs=1e-3)  # type: ignore[misc]
        assert found[field]["last"] == pytest.approx(nats(lambda p, f=field: p.without(f)) - full, abs=1e-3)  # type: ignore[misc]
    assert found["whole panel"]["alone"] == found["whole panel"]["last"]
    assert found["whole panel"]["last"] == pytest.approx(empty - full, abs=1e-3)


@pytest.mark.parametrize("arm", panel_fit.ARMS)
def test_every_arm_says_how_much_was_too_long(arm: panel_fit.Arm) -> None:
    def made(max_length: int) -> tuple[int, int]:
        trees, too_long = panel_fit.trees_of(
            arm,
            TOKENIZER,
            STEPS,
            Shares(),
            constant=STEPS[1].before,
            seed=0,
            max_length=max_length,
            window=400,
        )
        assert all(len(t.prompt.ids) + len(b.ids) <= max_length for t in trees for b in t.branches)
        return sum(len(t.branches) for t in trees), too_long

    whole, none = made(5000)
    assert none == 0
    short, left_out = made(120)
    assert left_out > 0
    assert short + (0 if arm == "text" else left_out) == whole
