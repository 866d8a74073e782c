"""Answers told their quality: which level, which tokens are trained, and C-RLFT's weights."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from data.test_chat import CHATML, tokenizer_with
from heedful.data import chat, conditions
from heedful.engine import conditioned
from heedful.engine.batch import Node, Tree, answer_node, collate, microbatches, prompt_node
from heedful.engine.fit import Term, fit
from heedful.engine.optim import Optimizer
from heedful.engine.score import columns, sequence_columns, use_packed_attention
from heedful.errors import UserError
from heedful.losses.supervised import next_token
from heedful.nn.pupil import Pupil
from heedful.types import Conversation, Message, Rated


def tokenizer(*markers: str, every_turn: bool = False) -> Any:
    made = tokenizer_with("</s>", template=CHATML)
    conditions.condition(made, markers or ("bad: ", "good: "), every_turn=every_turn)
    return made


def rated(*answers: tuple[str, float], prompt: str = "Who?") -> list[Rated]:
    return [Rated((Message("user", prompt),), text, rating) for text, rating in answers]


def test_quantiles_leave_the_rest_to_the_worst() -> None:
    levels = conditioned.levels_of([float(i) for i in range(103)], 5)
    assert [levels.count(n) for n in range(5)] == [23, 20, 20, 20, 20]
    assert levels == sorted(levels)
    assert conditioned.levels_of([0.0, 1.0, 0.0], 2) == [0, 1, 0]
    assert conditioned.levels_of([3.0, 5.0, 3.0], 5) == [3, 4, 3]


def test_answers_are_trained_and_what_tells_their_quality_is_not() -> None:
    tok = tokenizer()
    found = conditioned.told(tok, rated(("Ada.", 1), ("Nobody.", 0), ("Ada!", 1)), [1, 0, 1], 200)
    shown = {tok.decode(t.prompt.ids)[-6:]: [tok.decode(b.ids) for b in t.branches] for t in found.trees}
    assert shown == {"good: ": ["Ada.</s>", "Ada!</s>"], "\nbad: ": ["Nobody.</s>"]}
    assert not any(t.prompt.trained.any() for t in found.trees)
    assert found.levels == (1, 0)
    assert tok.chat_template == tokenizer().chat_template


def test_hindsight_chains_hold_both_orders_and_train_the_answers_alone() -> None:
    tok = tokenizer()
    found = conditioned.chained(tok, rated(("Ada.", 1), ("Nobody.", 0)), [1, 0], 200)
    texts = [tok.decode(np.concatenate([t.prompt.ids, t.branches[0].ids])) for t in found.trees]
    ends = [text.partition("assistant\n")[2] for text in texts]
    assert sorted(ends) == sorted(
        [
            "good: Ada.</s>",
            "bad: Nobody.</s>",
            "bad: Nobody.</s>good: Ada.</s>",
            "good: Ada.</s>bad: Nobody.</s>",
        ]
    )
    for tree in found.trees:
        node = tree.branches[0]
        trained = tok.decode(node.ids[node.trained])
        assert "good" not in trained
        assert "bad" not in trained
        assert trained.count("</s>") == tok.decode(node.ids).count("</s>")


def classes() -> list[Conversation]:
    turns = (Message("user", "Who?"), Message("assistant", "Ada."))
    other = (Message("user", "Who?"), Message("assistant", "Nobody knows."))
    return [Conversation(turns, source="gpt-4"), Conversation(other, source="crowd")]


def test_c_rlft_weighs_the_classes_and_tells_each_turn() -> None:
    tok = tokenizer(every_turn=True)
    found = conditioned.classed(tok, classes(), ["gpt-4"], 200, weight=0.1)
    packed = collate(found.trees)
    weights = packed.weights["token"]
    answers = [len(t.prompt.ids[t.prompt.trained]) for t in found.trees]
    expected = torch.cat([torch.full((answers[0],), 0.1), torch.ones(answers[1])])
    torch.testing.assert_close(weights, expected)
    shown = [tok.decode(t.prompt.ids) for t in found.trees]
    assert [text.count("bad: ") for text in shown] == [2, 0]
    assert [text.count("good: ") for text in shown] == [0, 2]


@pytest.mark.parametrize("weight", [0.1, 1.0])
def test_the_loss_of_two_classes_is_hand_weighted_cross_entropy(weight: float) -> None:
    """With weight 1 it is SFT with conditions. However the batch is split."""
    tok = tokenizer(every_turn=True)
    model = tiny.model(tiny.configs()["llama"].__class__(**{**tiny._COMMON, "vocab_size": len(tok)}))
    found = conditioned.classed(tok, classes(), ["gpt-4"], 200, weight=weight)
    logp = []
    for tree in found.trees:
        ids = torch.from_numpy(tree.prompt.ids)
        all_logp = model(ids[None]).logits[0].log_softmax(-1)[:-1]
        logp.append(all_logp.gather(-1, ids[1:, None])[:, 0][torch.from_numpy(tree.prompt.trained)[1:]])
    total = weight * -logp[0].sum() - logp[1].sum()
    expected = float(total.detach()) / (weight * len(logp[0]) + len(logp[1]))
    for budget in (max(t.size for t in found.trees), 1000):
        batch = microbatches(found.trees, budget)
        step = next(fit(model, [batch], [Term(next_token)], Optimizer(model, learning_rate=0.0)))
        assert step.loss == pytest.approx(expected, rel=1e-5)


def test_one_class_alone_is_refused() -> None:
    with pytest.raises(UserError, match="nothing to tell apart"):
        conditioned.classed(tokenizer(), classes()[:1], ["gpt-4"], 200, weight=0.1)


def test_a_reward_token_is_one_token_that_starts_as_the_mean_of_all() -> None:
    tok = tokenizer_with("</s>", template=CHATML)
    model = tiny.model(tiny.configs()["llama"].__class__(**{**tiny._COMMON, "vocab_size": len(tok)}))
    before = len(tok)
    mean = model.get_input_embeddings().weight.mean(0)
    markers = conditions.markers("reward_tokens", 3)
    conditioned.add_tokens(model, tok, markers)
    conditions.condition(tok, markers)
    prompt = conditioned.prompt_of(tok, [Message("user", "Who?")], markers[1])
    assert prompt[-1] == before + 1
    torch.testing.assert_close(model.get_input_embeddings().weight[before:], mean.expand(3, -1))


def test_hidden_tokens_are_drawn_anew_each_step_and_never_the_first() -> None:
    trees = [Tree(prompt_node(range(40)), (answer_node(range(400)), answer_node(range(30))))] * 3

    def drawn(step: int, numbers: Sequence[int] = (0, 1, 2)) -> list[list[bool]]:
        found = conditioned.forgetful([trees[0]] * len(numbers), numbers, step, ratio=0.15, seed=5)
        nodes = ([t.prompt, *t.branches] for t in found)
        return [np.concatenate([n.unseen for n in row]).tolist() for row in nodes]

    first = drawn(0)
    assert len({tuple(row) for row in first + drawn(1)}) == 6
    assert drawn(0, (2, 0)) == [first[2], first[0]]  # whatever else is in the step
    shares = np.asarray([row for step in range(200) for row in drawn(step)])
    assert not shares[:, 0].any()
    assert shares.mean() == pytest.approx(0.075, abs=0.005)  # the mean of a uniform share up to 0.15
    assert 0.01 < np.quantile(shares.mean(1), 0.1) < 0.02
    assert 0.13 < np.quantile(shares.mean(1), 0.9) < 0.14


def test_what_is_hidden_changes_nothing_that_comes_later() -> None:
    """Another token in its place, and no later log-prob moves; a branch's own are not hidden from the other."""
    tok = tokenizer()
    model = tiny.model(tiny.configs()["llama"].__class__(**{**tiny._COMMON, "vocab_size": len(tok)}))
    use_packed_attention(model)
    unseen = np.zeros(6, dtype=bool)
    unseen[3] = True

    def logp(ids: list[int], hidden: Any) -> list[torch.Tensor]:
        prompt = Node(np.asarray(ids), np.zeros(6, dtype=bool), unseen=hidden)
        return sequence_columns(model, [Tree(prompt, (answer_node([7, 8, 9]), answer_node([5, 5])))], "logp")[
            0
        ]

    for hidden, same in ((unseen, True), (None, False)):
        one, other = (logp([1, 2, 3, token, 5, 6], hidden) for token in (4, 11))
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(one, other, strict=True)) == same


def test_the_kl_of_a_told_answer_is_from_the_start_that_was_told_nothing() -> None:
    """Of the distributions after each token of the answer, over the words that the start knows; nothing by the step."""
    tok = tokenizer()
    config = tiny.configs()["llama"].__class__(**{**tiny._COMMON, "vocab_size": len(tok)})
    policy, start = tiny.model(config), tiny.model(config)
    with torch.no_grad():
        for p in policy.parameters():
            p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(len(p)))
    found = conditioned.told(tok, rated(("Ada.", 1), ("Nobody.", 0)), [1, 0], 200)
    reference = conditioned.Reference(start, conditioned.behind(tok, found, None))
    trees = reference([found.trees[1], found.trees[0]], [1, 0], 0)
    bare = conditioned.prompt_of(tok, [Message("user", "Who?")], None)
    use_packed_attention(policy)
    for tree in trees:
        node, prompt = tree.branches[0], tree.prompt.ids.tolist()
        log_p, log_q = (
            model(torch.tensor([[*before, *node.ids.tolist()]]))
            .logits[0]
            .log_softmax(-1)[len(before) - 1 : -1]
            for model, before in ((copies(policy, config), prompt), (copies(start, config), list(bare)))
        )
        expected = (log_p.exp() * (log_p - log_q)).sum(-1).detach()
        kl = columns(Pupil(policy, start), collate([tree]), ["ref_kl"])["ref_kl"].detach()
        torch.testing.assert_close(kl, expected, atol=1e-6, rtol=1e-4)


def copies(model: Any, config: Any) -> Any:
    """The same weights in a model with transformers' own attention."""
    other = tiny.model(copy.deepcopy(config))
    other.load_state_dict(model.state_dict())
    return other


def test_the_reference_of_a_told_answer_was_told_nothing() -> None:
    tok = tokenizer()
    model = tiny.model(tiny.configs()["llama"].__class__(**{**tiny._COMMON, "vocab_size": len(tok)}))
    alone = copies(model, model.config)
    answers = rated(("Ada.", 1), ("Nobody.", 0), ("Ada, surely.", 1))
    found = conditioned.told(tok, answers, [1, 0, 1], 200)
    referred = conditioned.with_plain_reference(model, tok, found)
    bare = conditioned.prompt_of(tok, [Message("user", "Who?")], None)
    assert tok.decode(bare).endswith("assistant\n")
    assert [len(tree.branches) for tree in referred.trees] == [2, 1]
    for node in (node for tree in referred.trees for node in tree.branches):
        ids = torch.tensor([*bare, *node.ids.tolist()])
        logp = alone(ids[None]).logits[0].log_softmax(-1)[len(bare) - 1 : -1]
        expected = logp.gather(-1, ids[len(bare) :, None])[:, 0].detach()
        torch.testing.assert_close(torch.from_numpy(node.columns["ref_logp"]), expected, atol=1e-5, rtol=1e-5)


def test_what_was_learnt_of_good_and_poor_answers_is_told_in_nats() -> None:
    tok = tokenizer()
    model = tiny.model(tiny.configs()["llama"].__class__(**{**tiny._COMMON, "vocab_size": len(tok)}))
    alone = copies(model, model.config)
    found = conditioned.told(tok, rated(("Ada.", 1), ("Nobody.", 0), ("Ada!", 1)), [1, 0, 1], 200)
    before = conditioned.likelihoods(model, conditioned.behind(tok, found, None))

    def nats(text: str, marker: str | None) -> float:
        prompt = conditioned.prompt_of(tok, [Message("user", "Who?")], marker)
        ids = torch.tensor([*prompt, *chat.answer_ids(tok, text)])
        logp = alone(ids[None]).logits[0].log_softmax(-1)[:-1].gather(-1, ids[1:, None])[:, 0]
        return float(logp[len(prompt) - 1 :].sum().detach())

    good, poor, one, other = ("Ada.", "Ada!"), ("Nobody.",), "good: ", "bad: "
    by_hand = {
        "best_drift": np.mean([nats(t, one) - nats(t, None) for t in good]),
        "best_gap": np.mean([nats(t, one) - nats(t, other) for t in good]),
        "worst_gap": np.mean([nats(t, one) - nats(t, other) for t in poor]),
    }
    assert conditioned.learnt(model, tok, found, before) == pytest.approx(by_hand, abs=1e-4)
