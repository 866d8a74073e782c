"""Losses for reward models against numbers computed by hand or published, and the identities between them."""

import math
from functools import partial
from itertools import permutations

import pytest
import torch

from heedful.losses import bind, reward


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values)


def rows(*values: list[float]) -> torch.Tensor:
    return torch.tensor(values)


def close(actual: torch.Tensor, expected: list[float], atol: float = 1e-6) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected), atol=atol, rtol=0)


def test_margins_are_llama_2s() -> None:
    # A gap of 0.5 with the margins 0, 1/3, 2/3, 1, 2, 3: -log sigmoid(0.5 - m).
    gap, strength = t(*[0.5] * 4), t(0.0, 1.0, 2.0, 3.0)
    small = partial(reward.graded_bradley_terry, margin=reward.STRENGTH_STEP["small"])
    large = partial(reward.graded_bradley_terry, margin=reward.STRENGTH_STEP["large"])
    sure = torch.ones(4)
    close(small(gap, torch.zeros(4), strength, sure), [0.474077, 0.613282, 0.779949, 0.974077])
    close(large(gap, torch.zeros(4), strength, sure), [0.474077, 0.974077, 1.701413, 2.578890])


def test_the_margins_gradient_is_minus_sigmoid_of_what_is_missing() -> None:
    chosen = t(0.2, -1.0).requires_grad_()
    loss = reward.graded_bradley_terry(chosen, torch.zeros(2), t(1.0, 3.0), torch.ones(2), margin=0.5)
    loss.sum().backward()
    close(chosen.grad, [-1 / (1 + math.exp(0.2 - 0.5)), -1 / (1 + math.exp(-1.0 - 1.5))])


def test_without_margin_and_doubt_it_is_bradley_terry_bit_for_bit() -> None:
    g = torch.Generator().manual_seed(0)
    found = []
    for loss in (reward.bradley_terry, reward.graded_bradley_terry):
        chosen, rejected = (torch.randn(50, generator=g.manual_seed(s)).requires_grad_() for s in (1, 2))
        known = {"strength": torch.rand(50), "probability": torch.ones(50)}
        value = bind.bind(loss, {"chosen_score": chosen, "rejected_score": rejected, **known})
        value.sum().backward()
        found.append((value.detach(), chosen.grad, rejected.grad))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_smoothing_and_doubt_move_the_best_gap_to_their_log_odds() -> None:
    # By hand: p = 0.8 smoothed by 0.1 is 0.8 * 0.9 + 0.2 * 0.1 = 0.74; at gap 1: -0.74 ln s(1) - 0.26 ln s(-1).
    value = reward.graded_bradley_terry(t(1.0), t(0.0), t(1.0), t(0.8), label_smoothing=0.1)
    close(value, [0.74 * math.log1p(math.exp(-1)) + 0.26 * math.log1p(math.exp(1))])
    gap = torch.tensor([math.log(0.74 / 0.26)], requires_grad=True)
    reward.graded_bradley_terry(gap, t(0.0), t(1.0), t(0.8), label_smoothing=0.1).sum().backward()
    close(gap.grad, [0.0])


def test_rao_kupper_by_hand() -> None:
    # theta = 2. Equal strengths: 1/3 each way and 1/3 for the tie; strengths 2 : 1 give 1/2, 1/5 and 3/10.
    loss = partial(reward.rao_kupper, threshold=math.log(2))
    gap, none = t(0.0, 0.0, math.log(2), -math.log(2), math.log(2)), torch.zeros(5)
    expected = [1 / 3, 1 / 3, 1 / 2, 1 / 5, 3 / 10]
    close(loss(gap, none, t(1.0, 0.5, 1.0, 1.0, 0.5)), [-math.log(p) for p in expected])


def test_a_tie_draws_scores_together_and_a_choice_apart() -> None:
    for probability, pushed in ((0.5, 1), (1.0, -1)):
        gap = t(1.0).requires_grad_()
        reward.rao_kupper(gap, t(0.0), t(probability)).sum().backward()
        assert math.copysign(1, float(gap.grad)) == pushed


def test_plackett_luce_by_hand() -> None:
    # Scores 1, 1/2, 0 in that order: ln(e + e^.5 + 1) - 1 = 0.680270 and ln(e^.5 + 1) - 1/2 = 0.474077.
    score, rank = rows([1.0, 0.5, 0.0], [0.0, 1.0, 9.0]), rows([0, 1, 2.0], [1, 0, 0.0])
    there = rows([1, 1, 1.0], [1, 1, 0.0])
    # The second prompt has two answers, the second of them best: ln(1 + e) - 1 = 0.313262; what is absent adds nothing.
    close(reward.plackett_luce(score, rank, there), [1.154347, 0.313262])
    # A tie of the best two: each is drawn from all three: 0.680270 + 1.180270.
    close(reward.plackett_luce(score[:1], rows([0, 0, 1.0]), there[:1]), [1.860540])


def test_the_first_place_of_four_is_zieglers_cross_entropy() -> None:
    score, rank = rows([1.0, 0.5, 0.0, -1.0]), rows([0, 1, 2, 3.0])
    whole = reward.plackett_luce(score, rank, torch.ones(1, 4))
    rest = reward.plackett_luce(score[:, 1:], rank[:, 1:], torch.ones(1, 3))
    close(whole - rest, [0.7465673])


def test_plackett_luce_is_a_distribution_over_orders_and_bradley_terry_for_two() -> None:
    score = rows([0.3, -1.2, 0.7, 0.1])
    ranks = torch.tensor(list(permutations(range(4)))).float()
    losses = reward.plackett_luce(score.expand(24, 4), ranks, torch.ones(24, 4))
    assert float((-losses).exp().sum()) == pytest.approx(1.0, abs=1e-6)
    two = reward.plackett_luce(rows([0.4, 1.1]), rows([0.0, 1.0]), torch.ones(1, 2))
    torch.testing.assert_close(two, reward.bradley_terry(t(0.4), t(1.1)))


def test_absent_answers_get_no_gradient() -> None:
    score = rows([0.5, 0.2, 3.0]).requires_grad_()
    reward.plackett_luce(score, rows([1.0, 0.0, 0.0]), rows([1.0, 1.0, 0.0])).sum().backward()
    assert float(score.grad[0, 2]) == 0.0
    assert float(score.grad[0, 1]) < 0 < float(score.grad[0, 0])


def test_pointwise_and_imitation_by_hand() -> None:
    close(reward.pointwise(t(1.0, -0.5), t(0.0, 0.5)), [1.0, 1.0])
    # Two best answers of 2 and 4 tokens: (3/2 + 6/4) / 2; none known: 0.
    logp, length = rows([-3.0, -6.0, -9.0], [-3.0, -6.0, 0.0]), rows([2, 4, 3.0], [2, 4, 0.0])
    close(reward.imitation(logp, length, rows([1, 1, 0.0], [0, 0, 0.0])), [1.5, 0.0])


def test_process_by_hand() -> None:
    score = t(0.0, 2.0, 2.0, -1.0)
    expected = [math.log(2), math.log1p(math.exp(-2)), 2 + math.log1p(math.exp(-2))]
    expected.append(0.25 * (1 + math.log1p(math.exp(-1))) + 0.75 * math.log1p(math.exp(-1)))
    close(reward.process(score, t(1.0, 1.0, 0.0, 0.25)), expected)
    close(reward.step_accuracy(score, t(0.0, 1.0, 0.0, 0.25)), [1.0, 1.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("loss", "unit"),
    [
        (reward.graded_bradley_terry, "pair"),
        (reward.rao_kupper, "pair"),
        (reward.plackett_luce, "group"),
        (reward.imitation, "group"),
        (reward.pointwise, "sequence"),
        (reward.process, "token"),
    ],
)
def test_each_loss_knows_its_unit(loss: bind.Loss, unit: str) -> None:
    assert bind.unit(loss) == unit
