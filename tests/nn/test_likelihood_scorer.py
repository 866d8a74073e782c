"""A score made of what each token is worth and how likely it was: the formula, packing, files."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import tiny
from heedful.engine.batch import Tree, collate
from heedful.engine.calibrate import standardise
from heedful.engine.fit import fit
from heedful.engine.optim import Optimizer
from heedful.engine.score import columns, sequence_columns, use_packed_attention
from heedful.errors import UserError
from heedful.losses.reward import bradley_terry
from heedful.nn import hub
from heedful.nn.likelihood_scorer import HEAD_FILE, LikelihoodScorer


def scorer(name: str = "llama") -> LikelihoodScorer:
    made = LikelihoodScorer(tiny.model(tiny.configs()[name]), seed=3)
    with torch.no_grad():
        made.likelihood.fill_(0.7)
    return made


def by_hand(model: LikelihoodScorer, tree: Tree) -> list[float]:
    """The definition, one sequence at a time, by the writer's own attention."""
    found = []
    for branch in tree.branches:
        ids = torch.from_numpy(np.concatenate([tree.prompt.ids, branch.ids]))
        out = model.writer(ids[None], use_cache=False, output_hidden_states=True)
        start = len(tree.prompt.ids)
        logp = out.logits[0, start - 1 : -1].log_softmax(-1).gather(-1, ids[start:, None])[:, 0]
        value = out.hidden_states[-1][0, start:] @ model.score.weight[0]
        found.append(float((value + 0.7 * logp).mean()))
    return found


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "stablelm"])
def test_packed_scores_are_the_definition_on_each_sequence_alone(name: str) -> None:
    model, trees = scorer(name), tiny.trees()
    with torch.no_grad():
        expected = [x for tree in trees for x in by_hand(model, tree)]
    use_packed_attention(model)
    found = columns(model, collate(trees), ["score"])["score"]
    torch.testing.assert_close(found, torch.tensor(expected), atol=2e-5, rtol=1e-5)


def test_saved_and_loaded_it_scores_the_same_and_opens_as_a_plain_language_model(tmp_path: Path) -> None:
    model, trees = scorer(), tiny.trees()
    use_packed_attention(model)
    standardise(model, trees)
    expected = [float(s) for row in sequence_columns(model, trees, "score") for s in row]
    assert abs(np.mean(expected)) < 1e-5
    assert abs(np.std(expected, ddof=1) - 1) < 1e-4
    model.save_pretrained(tmp_path)
    again = hub.load_scorer(tmp_path)
    use_packed_attention(again)
    assert [float(s) for row in sequence_columns(again, trees, "score") for s in row] == expected
    AutoModelForCausalLM.from_pretrained(tmp_path)


def test_training_moves_both_parts_of_the_head_and_the_right_pairs_apart() -> None:
    model, trees = scorer(), tiny.trees()
    before = [float(p.detach().sum()) for p in model.head]
    optimizer = Optimizer(model, learning_rate=1e-2)
    steps = list(fit(model, ([collate(trees)] for _ in range(12)), bradley_terry, optimizer))
    assert steps[-1].loss < 0.5 * steps[0].loss
    assert all(abs(float(p.detach().sum()) - b) > 1e-3 for p, b in zip(model.head, before, strict=True))


def test_a_critic_starts_from_its_body_and_its_values() -> None:
    model = scorer()
    critic = hub.value_model(model)
    assert torch.equal(critic.score.weight, model.score.weight)
    body = dict(critic.base_model.named_parameters())
    assert all(torch.equal(p, body[n]) for n, p in model.writer.base_model.named_parameters())


@pytest.mark.parametrize("damage", ["cut", "another"])
def test_a_damaged_head_is_one_sentence(tmp_path: Path, damage: str) -> None:
    model = scorer()
    model.save_pretrained(tmp_path)
    if damage == "cut":
        (tmp_path / HEAD_FILE).write_bytes(b"\0" * 5)
    else:
        config = dataclasses.replace(tiny.configs()["llama"], hidden_size=64)
        LikelihoodScorer(tiny.model(config)).save_pretrained(tmp_path / "wide")
        (tmp_path / "wide" / HEAD_FILE).rename(tmp_path / HEAD_FILE)
    with pytest.raises(UserError, match=HEAD_FILE):
        hub.load_scorer(tmp_path)
