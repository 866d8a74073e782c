"""Laws 1 and 2 where attention cannot be packed: the same rows and columns come out of padded batches."""

import copy
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from torch import Tensor

import tiny
from heedful.engine import padded
from heedful.engine.batch import Node, Tree, answer_node, collate, microbatches, plain, prompt_node
from heedful.engine.fit import Term, fit
from heedful.engine.optim import Optimizer
from heedful.engine.randomness import key
from heedful.engine.sample import Request, Sampling, sample
from heedful.engine.score import columns, sequence_columns, use_packed_attention
from heedful.errors import UserError
from heedful.losses.preference import dpo
from heedful.losses.supervised import next_token
from heedful.nn.actor_critic import ActorCritic
from heedful.nn.hub import scorer_from

NAMES = list(tiny.padded_configs())
SCORED = [n for n in NAMES if n not in ("xglm",)]  # transformers has no classifier of it


def made(name: str, **kwargs: Any) -> Any:
    return tiny.model(tiny.padded_configs()[name], **kwargs)


def dialogue(seed: int) -> Tree:
    """Four turns in one sequence, of which the second and the last are trained."""
    rng = np.random.default_rng(seed)
    lengths, trained = (4, 3, 5, 2), (False, True, False, True)
    return plain(rng.integers(3, tiny.VOCAB, sum(lengths)), np.repeat(trained, lengths))


def paths(tree: Tree) -> list[tuple[Tensor, Tensor]]:
    """Ids of every root-to-leaf path and which of them are trained."""
    branches: tuple[Node | None, ...] = tree.branches or (None,)
    nodes = [[tree.prompt] if b is None else [tree.prompt, b] for b in branches]
    return [
        (
            torch.from_numpy(np.concatenate([n.ids for n in path])),
            torch.from_numpy(np.concatenate([n.trained for n in path])),
        )
        for path in nodes
    ]


def alone(model: Any, tree: Tree) -> list[Tensor]:
    """Log-probs of the trained tokens of each path by the model as transformers made it."""
    found = []
    for ids, trained in paths(tree):
        logp = model(ids[None], use_cache=False).logits[0].float().log_softmax(-1)
        found.append(logp[:-1].gather(-1, ids[1:, None])[trained[1:], 0])
    return found


def gradient(model: Any) -> Tensor:
    parts = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return torch.cat(parts)


@pytest.mark.parametrize(
    ("name", "attention"), [*((n, "eager") for n in NAMES), ("falcon", "sdpa"), ("falcon_alibi", "sdpa")]
)
def test_padded_rows_equal_each_sequence_alone(name: str, attention: str) -> None:
    model, trees = made(name, attention=attention), [*tiny.trees(), dialogue(1), dialogue(2)]
    reference = torch.cat([logp for tree in trees for logp in alone(model, tree)])
    weight = torch.randn(len(reference), generator=torch.Generator().manual_seed(1))
    (reference * weight).sum().backward()
    expected = gradient(model)
    use_packed_attention(model)
    assert padded.is_padded(model)
    logp = columns(model, collate(trees), ["logp"])["logp"]
    (logp * weight).sum().backward()
    torch.testing.assert_close(logp, reference, atol=2e-5, rtol=1e-5)
    assert (gradient(model) - expected).norm() / expected.norm() < 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_any_split_of_padded_rows_gives_the_same_step(name: str) -> None:
    trees = tiny.trees()
    found = []
    for budget in (26, 1000):
        model = made(name)
        optimizer = Optimizer(model, learning_rate=1e-2, eps=1e-2)
        step = next(
            fit(model, [microbatches(trees, budget)], [Term(next_token)], optimizer, max_grad_norm=1e9)
        )
        found.append((step.loss, torch.cat([p.detach().flatten() for p in model.parameters()])))
    (loss, weights), (whole_loss, whole) = found
    assert loss == pytest.approx(whole_loss, rel=1e-5)
    torch.testing.assert_close(weights, whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", SCORED)
def test_policy_and_critic_in_padded_rows(name: str) -> None:
    policy = made(name)
    critic = scorer_from(policy, seed=0)
    trees = tiny.trees()
    expected_value, expected_score = [], []
    for tree in trees:
        for ids, trained in paths(tree):
            hidden = critic.base_model(ids[None], use_cache=False).last_hidden_state[0]
            values = critic.score(hidden)[:, 0].detach()
            expected_value.append(values[:-1][trained[1:]])
            expected_score.append(values[-1])
    both = ActorCritic(policy, critic)
    use_packed_attention(both)
    packed = collate(trees)
    value = columns(both, packed, ["value"])["value"]
    torch.testing.assert_close(value, torch.cat(expected_value), atol=2e-5, rtol=1e-5)
    score = torch.stack([s for row in sequence_columns(critic, trees, "score") for s in row])
    torch.testing.assert_close(score, torch.stack(expected_score), atol=2e-5, rtol=1e-5)
    assert columns(both, packed, ["logp", "entropy", "value"]).keys() == {"logp", "entropy", "value"}


@pytest.mark.parametrize("name", ["falcon", "xglm"])
def test_no_dropout_is_left_where_it_is_a_plain_number(name: str) -> None:
    config = copy.deepcopy(tiny.padded_configs()[name])
    for key_ in ("dropout", "hidden_dropout", "attention_dropout", "activation_dropout", "layerdrop"):
        if hasattr(config, key_):
            setattr(config, key_, 0.5)
    model, packed = tiny.model(config), collate(tiny.trees())
    use_packed_attention(model)
    expected = columns(model, packed, ["logp"])["logp"]
    torch.testing.assert_close(columns(model.train(), packed, ["logp"])["logp"], expected)


def test_pairs_learn_in_padded_rows() -> None:
    model = made("bloom")
    optimizer = Optimizer(model, learning_rate=1e-3)
    use_packed_attention(model)
    reference = copy.deepcopy(model)
    trees = []
    for tree in tiny.trees():
        rows = sequence_columns(reference, [tree], "logp")[0]
        branches = [answer_node(b.ids, ref_logp=r.numpy()) for b, r in zip(tree.branches, rows, strict=True)]
        trees.append(Tree(tree.prompt, tuple(branches), tree.pairs))
    losses = [s.loss for s in fit(model, [[collate(trees)]] * 5, dpo, optimizer)]
    assert losses[0] == pytest.approx(np.log(2), rel=1e-5)
    assert all(later < earlier for earlier, later in pairwise(losses))


def test_a_copy_of_a_padded_model_computes_with_its_own_weights() -> None:
    model, trees = made("bloom"), tiny.trees()
    use_packed_attention(model)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    fresh = made("bloom")
    expected = torch.cat([logp for tree in trees for logp in alone(fresh, tree)])
    torch.testing.assert_close(
        columns(twin, collate(trees), ["logp"])["logp"], expected, atol=2e-5, rtol=1e-5
    )


def requests(n: int, lengths: tuple[int, ...] = (5, 17, 9, 2, 12)) -> list[Request]:
    rng = np.random.default_rng(0)
    return [
        Request(rng.integers(3, tiny.VOCAB, length).tolist(), tuple(key("s", i, j) for j in range(n)))
        for i, length in enumerate(lengths)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_samples_of_a_padded_model(name: str) -> None:
    model, stop = made(name), [2, 3, 4]
    use_packed_attention(model)
    asked = requests(3)
    answers = sample(model, asked, Sampling(24), stop=stop, slots=3)
    trees = [
        Tree(prompt_node(r.prompt), tuple(answer_node(a.ids) for a in row))
        for r, row in zip(asked, answers, strict=True)
    ]
    for row, found in zip(answers, sequence_columns(model, trees, "logp"), strict=True):
        for a, logp in zip(row, found, strict=True):
            torch.testing.assert_close(torch.from_numpy(a.logp), logp, atol=5e-5, rtol=1e-4)
            assert a.finished == (int(a.ids[-1]) in stop)
            assert a.finished or len(a.ids) == 24
            assert not np.isin(a.ids[:-1], stop).any()
    for request, row in zip(asked, answers, strict=True):
        for j, k in enumerate(request.keys):
            [[by_itself]] = sample(model, [Request(request.prompt, (k,))], Sampling(24), stop=stop)
            assert by_itself.ids.tolist() == row[j].ids.tolist()
    assert len({len(a.ids) for row in answers for a in row}) > 1


@pytest.mark.parametrize("name", NAMES)
def test_greedy_of_a_padded_model_equals_generate(name: str) -> None:
    model, asked = made(name), requests(1)
    expected = tiny.greedy_by_transformers(model, [list(r.prompt) for r in asked], 15)
    use_packed_attention(model)
    found = sample(model, asked, Sampling(15, temperature=0), stop=[2])
    assert [row[0].ids.tolist() for row in found] == expected


def test_the_fallback_is_said_once_an_architecture(capsys: pytest.CaptureFixture[str]) -> None:
    padded._announce.cache_clear()
    for _ in range(2):
        use_packed_attention(made("gpt_neo"))
    use_packed_attention(made("mpt"))
    said = capsys.readouterr().err.splitlines()
    assert [line.split()[4] for line in said] == ["gpt_neo", "mpt"]
    assert "cannot be packed" in said[0]
    assert "a prompt is computed once for each of its answers" in said[0]


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            hf.MambaConfig(vocab_size=97, hidden_size=32, num_hidden_layers=2),
            "mamba models carry a recurrent",
        ),
        (hf.RwkvConfig(vocab_size=97, hidden_size=32, num_hidden_layers=2), "rwkv models carry a recurrent"),
        (
            hf.XLNetConfig(vocab_size=97, d_model=32, n_layer=2, n_head=4, d_inner=48),
            "xlnet models give other numbers in a padded row than alone",
        ),
    ],
    ids=lambda c: getattr(c, "model_type", ""),
)
def test_a_model_that_padding_does_not_help_is_refused(config: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        use_packed_attention(tiny.model(config))


def test_a_model_without_a_cache_learns_but_is_not_sampled_from() -> None:
    model = tiny.model(hf.OpenAIGPTConfig(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=64))
    expected = torch.cat([logp for tree in tiny.trees() for logp in alone(model, tree)])
    use_packed_attention(model)
    logp = columns(model, collate(tiny.trees()), ["logp"])["logp"]
    torch.testing.assert_close(logp, expected, atol=2e-5, rtol=1e-5)
    with pytest.raises(UserError, match="openai-gpt models keep no keys and values"):
        sample(model, requests(1), Sampling(3), stop=[2])
