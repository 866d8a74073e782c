"""Gain and bias of a reward model, and a reward model that keeps writing while it learns."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

import tiny
from heedful.engine.batch import Tree, collate
from heedful.engine.calibrate import flat_scores, rescale, standardise
from heedful.engine.fit import Term, fit
from heedful.engine.optim import Optimizer
from heedful.engine.score import columns, use_packed_attention
from heedful.losses.reward import bradley_terry, imitation
from heedful.nn import hub
from heedful.nn.scorer_with_writer import ScorerWithWriter


def scorer() -> Any:
    made = tiny.llama(scorer=True)
    use_packed_attention(made)
    return made


def test_gain_and_bias_are_what_is_asked_for_and_add_up() -> None:
    model, trees = scorer(), tiny.trees()
    before = flat_scores(model, trees)
    rescale(model, gain=2.0, bias=-0.5)
    torch.testing.assert_close(flat_scores(model, trees), 2 * before - 0.5, atol=1e-5, rtol=1e-5)
    rescale(model, gain=0.1, bias=3.0)
    torch.testing.assert_close(
        flat_scores(model, trees), 0.1 * (2 * before - 0.5) + 3.0, atol=1e-5, rtol=1e-5
    )
    assert model.config.score_gain == pytest.approx(0.2)


def test_standardised_scores_have_the_mean_and_deviation_and_the_same_probabilities(tmp_path: Path) -> None:
    model, trees = scorer(), tiny.trees()
    before = flat_scores(model, trees)
    standardise(model, trees, mean=1.0, deviation=3.0)
    found = flat_scores(model, trees)
    assert float(found.mean()) == pytest.approx(1.0, abs=1e-5)
    assert float(found.std()) == pytest.approx(3.0, abs=1e-5)
    apart = (found[0] - found[1]) / model.config.score_gain
    assert float(apart) == pytest.approx(float(before[0] - before[1]), abs=1e-5)
    # The scale survives the disk.
    model.save_pretrained(tmp_path)
    again = hub.load_scorer(tmp_path)
    use_packed_attention(again)
    assert torch.equal(flat_scores(again, trees), found)
    assert again.config.score_gain == model.config.score_gain


def best_of(trees: list[Tree]) -> list[Tree]:
    return [replace(t, labels={"best": [float(i == 0) for i in range(len(t.branches))]}) for t in trees]


def both(name: str) -> ScorerWithWriter:
    writer = tiny.model(tiny.configs()[name])
    model = ScorerWithWriter(writer, hub.scorer_from(writer, seed=1))
    use_packed_attention(model)
    return model


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "gpt_neox"])
def test_one_pass_gives_what_scorer_and_writer_give_by_themselves(name: str) -> None:
    model, packed = both(name), collate(best_of(tiny.trees()))
    found = columns(model, packed, ["score", "logp"])
    writer, alone = (
        tiny.model(tiny.configs()[name]),
        hub.scorer_from(tiny.model(tiny.configs()[name]), seed=1),
    )
    for part in (writer, alone):
        use_packed_attention(part)
    torch.testing.assert_close(found["logp"], columns(writer, packed, ["logp"])["logp"], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(
        found["score"], columns(alone, packed, ["score"])["score"], atol=2e-5, rtol=1e-5
    )


def test_the_regulariser_raises_the_likelihood_of_the_best_answer_alone() -> None:
    trees = best_of([t for t in tiny.trees() if len(t.branches) > 1])

    def after(weight: float) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        model = both("llama")
        before = columns(model, collate(trees), ["listed_logp"])["listed_logp"].detach()
        terms = [Term(bradley_terry), Term(imitation, weight)] if weight else [Term(bradley_terry)]
        list(fit(model, ([collate(trees)] for _ in range(10)), terms, Optimizer(model, learning_rate=3e-3)))
        gain = (columns(model, collate(trees), ["listed_logp"])["listed_logp"].detach() - before).numpy()
        return gain[:, 0], gain[:, 1]

    best, second = after(1.0)
    assert (best > 1).all()
    assert (best > second).all()
    without, _ = after(0.0)
    assert (best > without + 1).all()


def test_what_is_kept_is_an_ordinary_reward_model(tmp_path: Path) -> None:
    model, trees = both("llama"), best_of(tiny.trees())
    terms = [Term(bradley_terry), Term(imitation, 0.1)]
    list(fit(model, [[collate(trees)]], terms, Optimizer(model, learning_rate=1e-2)))
    expected = flat_scores(model.scorer, trees)
    model.scorer.save_pretrained(tmp_path)
    _, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    again = hub.load_scorer(tmp_path)
    use_packed_attention(again)
    assert torch.equal(flat_scores(again, trees), expected)
