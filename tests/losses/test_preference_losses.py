"""Losses on comparisons and labels against vectors computed by hand (torchtune's inputs) and against one another."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from heedful.errors import UserError
from heedful.losses import bind, find, listwise, preference, unpaired

CHOSEN, REJECTED = [-0.5, -10.0, -1.0], [-0.1, -30.0, -21.0]
REF_CHOSEN, REF_REJECTED = [-0.5, -10.1, -0.1], [-0.1, -20.1, -0.1]
MEANS = [-0.5, -1.0, -2.0], [-1.0, -1.0, -1.5]


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def close(found: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(found, torch.tensor(expected), atol=2e-6, rtol=1e-6)


def four() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return t(*CHOSEN), t(*REJECTED), t(*REF_CHOSEN), t(*REF_REJECTED)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (lambda a: preference.dpo(*a), [0.693147, 0.313262, 0.126928]),
        (lambda a: preference.dpo(*a, label_smoothing=0.1), [0.693147, 0.413262, 0.326928]),
        (lambda a: preference.soft_dpo(*a, t(0.9, 0.9, 1.0)), [0.693147, 0.413262, 0.126928]),
        (lambda a: preference.rdpo(*a, label_smoothing=0.1), [0.693147, 0.188262, -0.123072]),
        (lambda a: preference.ipo(*a, t(1, 1, 1), t(1, 1, 1), average=False), [25.0, 25.0, 225.0]),
        (lambda a: preference.ipo(*a, t(1, 1, 2), t(1, 4, 1)), [25.0, (0.1 + 9.9 / 4 - 5) ** 2, 15.45**2]),
        (lambda a: preference.hinge(*a), [1.0, 0.0, 0.0]),
        (lambda a: preference.dpo_norm(*a, t(1, 1, 1), t(1, 1, 1), beta=0.1), [0.693147, 0.313262, 0.126928]),
        (lambda a: preference.dpo_nll(*a, t(1, 10, 2)), [1.193147, 1.313262, 0.626928]),
        (lambda a: preference.cpo(a[0], a[1], t(1, 1, 1), alpha=0.0), [0.713347, 0.126928, 0.126928]),
        (lambda a: preference.cpo(a[0], a[1], t(1, 10, 2)), [1.213347, 1.126928, 0.626928]),
        (lambda a: preference.slic(a[0], a[1], alpha=0.0), [1.4, 0.0, 0.0]),
        (lambda a: preference.slic(a[0], a[1]), [1.45, 1.0, 0.1]),
    ],
)
def test_values_of_each_pair(value: Callable[[Any], Tensor], expected: list[float]) -> None:
    close(value(four()), expected)


def test_losses_on_mean_log_probs() -> None:
    chosen, rejected = (t(*m) * 4 for m in MEANS)
    lengths = t(4, 4, 4), t(4, 4, 4)
    close(preference.simpo(chosen, rejected, *lengths, beta=2.0, gamma=1.0), [0.693147, 1.313262, 2.126928])
    odds = preference.log_odds(t(*MEANS[0])) - preference.log_odds(t(*MEANS[1]))
    close(odds, [0.974077, 0.0, -0.607069])
    close(preference.orpo(chosen, rejected, *lengths, beta=1.0), [0.820300, 1.693147, 3.042058])


@pytest.mark.parametrize(
    ("z", "good", "bad"),
    [
        (0.0, [0.5, 0.497500, 0.522485], [0.5, 0.270912, 0.110073]),
        (0.2, [0.505000, 0.502500, 0.527472], [0.495000, 0.266980, 0.108129]),
        (-3.0, [0.5, 0.497500, 0.522485], [0.5, 0.270912, 0.110073]),  # never below zero
    ],
)
def test_kto_of_good_and_bad_answers(z: float, good: list[float], bad: list[float]) -> None:
    baseline = torch.full((3,), z)
    close(unpaired.kto(t(*CHOSEN), t(*REF_CHOSEN), torch.ones(3), baseline), good)
    close(unpaired.kto(t(*REJECTED), t(*REF_REJECTED), torch.zeros(3), baseline), bad)
    doubled = unpaired.kto(
        t(*REJECTED), t(*REF_REJECTED), torch.zeros(3), baseline, undesirable_weight=2.0, desirable_weight=9.0
    )
    close(doubled, [2 * b for b in bad])


def test_rrhf_ranks_pairs_and_learns_the_best() -> None:
    # The three pairs of the reference as prompts of two answers each.
    logp, length = torch.stack([t(*MEANS[0]), t(*MEANS[1])], 1) * 3, torch.full((3, 2), 3.0)
    rank, present = torch.tensor([[0.0, 1.0]] * 3), torch.ones(3, 2)
    close(listwise.rrhf(logp, length, rank, present, alpha=0.0), [0.0, 0.0, 0.5])
    close(listwise.rrhf(logp, length, rank, present), [1.5, 3.0, 6.5])


def test_plackett_luce_of_three_answers_by_hand() -> None:
    # r = [1, 0, 2], ranks [0, 1, 2], beta 1: -log(e/(e+1+e^2)) - log(1/(1+e^2)); a fourth place is empty.
    logp = torch.tensor([[1.0, 0.0, 2.0, 0.0]])
    present, rank = torch.tensor([[1.0, 1, 1, 0]]), torch.tensor([[0.0, 1, 2, 0]])
    e = math.e
    first, second = math.log((e + 1 + e**2) / e), math.log(1 + e**2)
    zero = torch.zeros_like(logp)
    close(listwise.plackett_luce(logp, zero, rank, present, beta=1.0), [first + second])
    close(listwise.contrast(logp, zero, rank, present, beta=1.0), [first])
    found = listwise.pro(logp * 2, torch.full_like(logp, 2.0), rank, present, alpha=0.5)
    close(found, [first + second - 0.5 * 2])


def test_a_ranking_of_two_is_dpo_and_a_tie_teaches_nothing() -> None:
    chosen, rejected, *ref = four()
    logp, ref_logp = torch.stack([chosen, rejected], 1).requires_grad_(), torch.stack(ref, 1)
    present, rank = torch.ones(3, 2), torch.tensor([[0.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    for loss in (listwise.plackett_luce, listwise.contrast):
        found = loss(logp, ref_logp, rank, present)
        close(found[:2], [0.693147, 0.313262])
        assert found[2].item() == 0
        (grad,) = torch.autograd.grad(found.sum(), logp)
        assert grad.isfinite().all()
        assert grad[2].abs().max() == 0
        assert (grad[:2, 0] < 0).all()
        assert (grad[:2, 1] > 0).all()


@pytest.mark.parametrize("name", list(find.names()))
def test_every_loss_raises_the_better_answer_over_the_worse(name: str) -> None:
    """In the direction that the judgement names, whatever else the loss does."""
    loss = find.find(name)
    values = {"length": 4.0, "label": 1.0, "baseline": 0.0, "probability": 0.9, "strength": 1.0}
    better, worse = t(-4.0).requires_grad_(), t(-5.0).requires_grad_()
    args = []
    for column in bind.columns(loss):
        quantity = bind.quantity(column)
        if column.startswith("listed_"):
            of = {"logp": torch.stack([better, worse], 1), "ref_logp": torch.tensor([[-4.0, -5.0]])}
            args.append(of.get(quantity, torch.tensor([[0.0, 1.0]] if quantity == "rank" else [[1.0, 1.0]])))
        elif quantity == "logp":
            args.append(worse if column.startswith("rejected") else better)
        else:
            args.append(t(-5.0 if quantity == "ref_logp" else values[quantity]))
    loss(*args).sum().backward()
    assert better.grad is not None
    assert float(better.grad) < 0
    if bind.unit(loss) == "sequence":
        args[2] = t(0.0)
        better.grad = None
        loss(*args).sum().backward()
        assert float(better.grad) > 0
    elif name != "rrhf":  # whose hinge is satisfied already
        assert worse.grad is not None
        assert float(worse.grad) > 0 or name == "slic"


def test_minima_lie_where_the_papers_say() -> None:
    h = torch.linspace(-60, 60, 120001)
    zero = torch.zeros_like(h)
    smoothed = preference.dpo(h, zero, zero, zero, beta=0.1, label_smoothing=0.1)
    assert torch.sigmoid(0.1 * h[smoothed.argmin()]) == pytest.approx(0.9, abs=1e-4)
    ones = torch.ones_like(h)
    assert h[preference.ipo(h, zero, zero, zero, ones, ones, tau=0.1).argmin()] == pytest.approx(5, abs=1e-3)


def test_simpo_without_margin_and_at_equal_lengths_is_dpo_without_reference() -> None:
    chosen, rejected, *_ = four()
    n, zero = torch.full((3,), 5.0), torch.zeros(3)
    torch.testing.assert_close(
        preference.simpo(chosen, rejected, n, n, beta=2.0, gamma=0.0),
        preference.dpo(chosen, rejected, zero, zero, beta=2.0 / 5),
    )


def test_orpo_stays_finite_for_an_answer_that_is_certain() -> None:
    sure = t(0.0).requires_grad_()
    value = preference.orpo(sure, t(-3.0), t(2.0), t(2.0))
    value.backward()
    assert value.isfinite().all()
    assert sure.grad is not None
    assert sure.grad.isfinite().all()


def test_a_loss_is_found_by_its_name_and_its_settings_are_its_own() -> None:
    assert find.find("simpo") is preference.simpo
    with pytest.raises(UserError, match="Did you mean 'simpo'"):
        find.find("simppo")
    with pytest.raises(UserError, match="no loss 'margin'"):
        find.find("margin")
    assert find.checked(preference.simpo, {"beta": 10}, what="simpo") == {"beta": 10.0, "gamma": 1.0}
    with pytest.raises(ValueError, match=r"no setting 'gama'\. Did you mean 'gamma'"):
        find.checked(preference.simpo, {"gama": 1}, what="simpo")
    with pytest.raises(ValueError, match="not a number"):
        find.checked(preference.simpo, {"gamma": "much"}, what="simpo")
    with pytest.raises(ValueError, match="not true or false"):
        find.checked(preference.ipo, {"average": 1}, what="ipo")
