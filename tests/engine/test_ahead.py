"""Answers drawn one iteration early: by the weights of then, with the log-probs of then."""

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from engine import toy_rl
from heedful.engine.ahead import Ahead
from heedful.engine.checkpoint import weights_digest
from heedful.engine.endpoint import Endpoint
from heedful.engine.fit import Term, fit
from heedful.engine.optim import Optimizer
from heedful.engine.policy import Policy
from heedful.engine.published import PublishedSampler
from heedful.engine.rollout import Rollouts
from heedful.engine.sampler import Answered, Asked
from heedful.engine.sampler_server import ServerSampler
from heedful.errors import UserError
from heedful.losses import policy
from heedful.stages.rl import RlConfig


class Elsewhere:
    """A stand-in for another machine: it answers with a copy of the weights as they were when it was asked."""

    def __init__(self, model: Any, tokenizer: Any, off: float = 0.0) -> None:
        self.model, self.tokenizer, self.off = model, tokenizer, off
        self.copies: list[Any] = []

    def begin(self, prompts: Sequence[Asked], how: Any, **numbers: Any) -> Callable[[], list[Answered]]:
        made = copy.deepcopy(self.model)
        self.copies.append(made)

        def rest() -> list[Answered]:
            found = Policy(made, self.tokenizer).answer(prompts, how, **numbers)
            for sample in (s for a in found for s in a.samples):
                sample.logp[:] += self.off
            return found

        return rest

    def answer(self, prompts: Sequence[Asked], how: Any, **numbers: Any) -> list[Answered]:
        return self.begin(prompts, how, **numbers)()


def overlapped(off: float = 0.0, **settings: Any) -> tuple[Rollouts, Elsewhere]:
    """The toy with its answers from elsewhere."""
    chosen = {"advantage": "group", "epochs": 1, "minibatches": 1, "prompts_per_step": 4, **settings}
    toy = toy_rl.rollouts(**chosen)
    there = Elsewhere(toy.policy.model, toy.policy.tokenizer, off)
    toy.policy.sampler = Ahead(there)
    return toy, there


def learnt(toy: Rollouts, iterations: int = 4) -> list[tuple[dict[str, Any], list[toy_rl.Row]]]:
    """The metrics and answers of every step, while the policy learns from them."""
    seen: list[list[toy_rl.Row]] = []

    def watched(batches: Any) -> Any:
        for batch in batches:
            seen.append([row for packed in batch for row in toy_rl.answers(packed)])
            yield batch

    optimizer = Optimizer(toy.model, learning_rate=3e-3)
    steps = fit(toy.model, watched(toy.batches(iterations)), [Term(policy.ppo_clip)], optimizer)
    metrics = [{**s.metrics, "loss": s.loss, "norm": s.grad_norm, **toy.metrics} for s in steps]
    return list(zip(metrics, seen, strict=True))


def test_answers_and_log_probs_are_of_the_weights_before_the_last_iteration() -> None:
    toy, there = overlapped()
    found = learnt(toy)
    assert [metrics["sampling/policy_age"] for metrics, _ in found] == [0, 1, 1, 1]
    assert len(there.copies) == 4  # nothing is asked for after the last iteration
    for number, (metrics, rows) in enumerate(found):
        for row in rows:
            np.testing.assert_allclose(row.behavior_logp, toy_rl.logps(there.copies[number], row), atol=1e-5)
        assert (metrics["sampling/logp_gap"] > 1e-3) == (number > 0)  # how far the policy has moved since
    digests = [weights_digest(model) for model in there.copies]
    assert digests[0] == digests[1]  # the second question is put before the first step
    assert len(set(digests)) == 3


def test_each_iteration_has_the_prompts_and_random_numbers_that_it_has_without() -> None:
    """The second iteration's answers are those of a policy that has not learnt from the first."""
    ahead = learnt(overlapped()[0], 2)[1][1]
    plain = toy_rl.rollouts(advantage="group", epochs=1, minibatches=1, prompts_per_step=4)
    (second,) = plain.batches(2, start=1)
    expected = [row for packed in second for row in toy_rl.answers(packed)]
    assert [(r.prompt, r.ids) for r in ahead] == [(r.prompt, r.ids) for r in expected]


def test_two_runs_are_the_same_bit_for_bit() -> None:
    one, two = (learnt(overlapped()[0]) for _ in range(2))
    assert [metrics for metrics, _ in one] == [metrics for metrics, _ in two]
    assert [[r.ids for r in rows] for _, rows in one] == [[r.ids for r in rows] for _, rows in two]


def test_the_reward_rises_all_the_same() -> None:
    found = learnt(overlapped(prompts_per_step=8)[0], 25)
    rewards = [metrics["reward"] for metrics, _ in found]
    assert np.mean(rewards[-5:]) > np.mean(rewards[:5]) + 0.15


def test_a_checkpoint_holds_the_answers_under_way() -> None:
    toy, there = overlapped()
    ahead = toy.ahead
    assert ahead is not None
    assert ahead.state() == {}
    toy.last = False
    toy._answered(0, 0)  # which asks for the next iteration's
    state = json.loads(json.dumps(ahead.state()))
    other = Ahead(there)
    other.load(state)
    question = toy._question(toy.chosen_prompts(1), 1)
    for a, b in zip(other.answer(**question), ahead.answer(**question), strict=True):
        assert (a.prompt, a.texts) == (b.prompt, b.texts)
        for x, y in zip(a.samples, b.samples, strict=True):
            assert np.array_equal(x.ids, y.ids)
            assert np.array_equal(x.logp, y.logp)
            assert (x.ids.dtype, x.logp.dtype, x.finished) == (y.ids.dtype, y.logp.dtype, y.finished)
    assert (other.age, other.state(), len(there.copies)) == (1, {}, 2)


def test_a_server_that_computes_otherwise_is_refused() -> None:
    toy, _ = overlapped(off=0.5)
    with pytest.raises(UserError, match=r"the server's log-probs are 0\.5 nats from those of the same"):
        next(toy.batches(2))


def test_a_server_that_dies_meanwhile_is_one_sentence_when_its_answers_are_needed(tmp_path: Path) -> None:
    toy, _ = overlapped()
    batches = toy.batches(2)
    next(batches)
    gone = Endpoint("http://127.0.0.1:9/v1", retries=1, sleep=lambda seconds: None)
    server = ServerSampler(gone, "policy", toy.policy.tokenizer, tokens=True)
    away = Ahead(PublishedSampler(server, toy.policy.model, toy.policy.tokenizer, tmp_path / "policy"))
    away.ask(**toy._question(toy.chosen_prompts(1), 1))
    toy.policy.sampler = away
    with pytest.raises(
        UserError, match=r"^no answer from http://127\.0\.0\.1:9/v1 in 2 tries .* is the server up"
    ):
        next(batches)


NEEDED = {"output": Path("o"), "model": "m", "reward": "r", "prompts": Path("p")}
SERVED = {"sampler": "http://x#m", "publish": Path("p")}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"overlap": True}, "lets a server answer while this process learns: add sampler="),
        ({"overlap": True, **SERVED, "algorithm": "rloo"}, "surrogate=reinforce does not correct for that"),
        ({"overlap": True, **SERVED, "algorithm": "trpo"}, "surrogate=trpo does not correct for that"),
        ({"overlap": True, **SERVED, "dynamic_sampling": 2}, "leave one of them out"),
        ({**SERVED, "temperature": 0.7}, "log-probs of temperature=1 only"),
    ],
)
def test_where_it_would_be_wrong_it_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        RlConfig(**{**NEEDED, **settings})
