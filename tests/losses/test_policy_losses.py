"""The policy-gradient parts that test_losses.py does not have: numbers by hand, and algebra that must hold exactly."""

import math

import pytest
import torch

from heedful.losses import advantage, distill, kl, policy

PROBABILITIES = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
REFERENCE = torch.tensor([0.4, 0.1, 0.25, 0.25], dtype=torch.float64)


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values)


def close(actual: torch.Tensor, expected: list[float], atol: float = 1e-6) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=actual.dtype), atol=atol, rtol=0)


def test_reinforce_golden() -> None:
    # A = [1, -1, 2], logp = [-.5, -1, -1.5]: the mean is .8333.
    value = policy.reinforce(t(-0.5, -1.0, -1.5), t(1.0, -1.0, 2.0))
    close(value, [0.5, -1.0, 3.0])
    assert float(value.mean()) == pytest.approx(0.833333, abs=1e-6)


def test_importance_golden_off_policy_and_never_clipped() -> None:
    logp = torch.log(t(0.5, 1.0, 1.5)).requires_grad_()
    value = policy.importance(logp, torch.zeros(3), t(1.0, -1.0, 2.0))
    close(value.detach(), [-0.5, 1.0, -3.0])
    value.sum().backward()
    close(logp.grad, [-0.5, 1.0, -3.0])


def test_on_the_policy_that_sampled_all_surrogates_have_the_same_gradient() -> None:
    logp, adv = t(-0.5, -2.0, -1.0), t(1.0, -0.3, 2.0)
    found = []
    for loss in (policy.reinforce, policy.importance, policy.ppo_clip):
        x = logp.clone().requires_grad_()
        (loss(x, adv) if loss is policy.reinforce else loss(x, logp, adv)).sum().backward()
        found.append(x.grad)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_value_error_and_entropy_bonus() -> None:
    close(policy.value_error(t(1.0, 0.1), t(1.0, 1.1)), [0.0, 0.5])
    close(policy.entropy_bonus(t(1.5)), [-1.5])


@pytest.mark.parametrize("name", ["k1", "k2", "k3"])
def test_the_gradients_of_penalties_in_the_loss(name: kl.Estimator) -> None:
    """Enumerated over four tokens: k1 and k2 pull down KL(pi || ref), k3 KL(ref || pi); plain k1 pulls nowhere."""
    logits = PROBABILITIES.log().requires_grad_()
    expected = torch.autograd.grad(_kl(name, logits), logits)[0]
    logp = logits.log_softmax(-1)
    sampled = logp.detach()
    args = (logp, sampled, REFERENCE.log()) if name == "k1" else (logp, REFERENCE.log())
    mean = (PROBABILITIES * kl.PENALTIES[name](*args)).sum()
    torch.testing.assert_close(torch.autograd.grad(mean, logits)[0], expected)
    plain = (PROBABILITIES * kl.k1(logits.log_softmax(-1), REFERENCE.log())).sum()
    close(torch.autograd.grad(plain, logits)[0], [0.0] * 4, atol=1e-12)


def _kl(name: str, logits: torch.Tensor) -> torch.Tensor:
    logp = logits.log_softmax(-1)
    if name == "k3":
        return (REFERENCE * (REFERENCE.log() - logp)).sum()
    return (logp.exp() * (logp - REFERENCE.log())).sum()


def test_k1_and_k3_have_the_kl_as_their_mean() -> None:
    exact = float((PROBABILITIES * (PROBABILITIES / REFERENCE).log()).sum())
    for name in ("k1", "k3"):
        found = float((PROBABILITIES * kl.MEASURES[name](PROBABILITIES.log(), REFERENCE.log())).sum())
        assert found == pytest.approx(exact, abs=1e-12)
    weighted = kl.k1_weighted(PROBABILITIES.log(), torch.full((4,), math.log(0.25)), REFERENCE.log())
    assert float(weighted.mean()) == pytest.approx(exact, abs=1e-6)  # sampled evenly, weighted back


@pytest.mark.parametrize(("value", "expected"), [(0.006, 0.25), (0.0067, 0.5), (0.015, 0.5), (0.016, 1.0)])
def test_the_step_penalty_halves_and_doubles(value: float, expected: float) -> None:
    assert kl.doubled(0.5, value, target=0.01) == expected


MASK = torch.tensor([[True, True, True], [True, False, False]])


def test_monte_carlo_golden() -> None:
    rewards = torch.tensor([[1.0, 2.0, 3.0], [4.0, 9.0, 9.0]])  # what lies outside the mask is no reward
    close(advantage.to_go(rewards, MASK).flatten(), [6.0, 5.0, 3.0, 4.0, 0.0, 0.0])
    half = advantage.monte_carlo(rewards, MASK, gamma=0.5, baseline="none")
    close(half.flatten(), [2.75, 3.5, 3.0, 4.0, 0.0, 0.0])
    found = advantage.monte_carlo(rewards, MASK)
    close(found.flatten(), [1.5, 0.5, -1.5, -0.5, 0.0, 0.0])


def test_monte_carlo_is_gae_with_lambda_1_and_a_critic_that_says_nothing() -> None:
    rewards = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    gae, _ = advantage.gae(rewards, torch.zeros(2, 3), MASK, gamma=0.9, lam=1.0)
    torch.testing.assert_close(gae, advantage.monte_carlo(rewards, MASK, gamma=0.9, baseline="none"))


def test_leave_one_out_golden_and_algebra() -> None:
    rewards = torch.tensor([[1.0, 2.0, 6.0], [0.5, 0.5, 0.5]])
    close(advantage.leave_one_out(rewards).flatten(), [-3.0, -1.5, 4.5, 0.0, 0.0, 0.0])
    rewards = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    found = advantage.leave_one_out(rewards)
    centred = advantage.group_relative(rewards, scale="none")
    torch.testing.assert_close(found, 4 / 3 * centred)  # n/(n-1) times the group mean's
    others = torch.stack([rewards[:, [j for j in range(4) if j != i]].mean(1) for i in range(4)], 1)
    torch.testing.assert_close(found, rewards - others)


def test_leave_one_out_leaves_the_gradient_unbiased_where_the_group_mean_shrinks_it() -> None:
    """All 3^2 pairs of draws of a three-armed policy, weighed by their probability, against the exact gradient."""
    p, r = (
        torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64),
        torch.tensor([1.0, 3.0, -1.0], dtype=torch.float64),
    )
    score = torch.eye(3, dtype=torch.float64) - p  # grad of log p_i for a softmax
    exact = (p * r) @ score
    for estimate, share in ((advantage.leave_one_out, 1.0), (_centred, 0.5)):
        total = torch.zeros(3, dtype=torch.float64)
        for i in range(3):
            for j in range(3):
                a = estimate(r[[i, j]].float()[None])[0].double()
                total += p[i] * p[j] * (a[0] * score[i] + a[1] * score[j]) / 2
        torch.testing.assert_close(total, share * exact, atol=1e-6, rtol=0)


def _centred(rewards: torch.Tensor) -> torch.Tensor:
    return advantage.group_relative(rewards, scale="none")


def test_distillation_golden() -> None:
    student, teacher = t(0.5, 0.5).log()[None], t(0.9, 0.1).log()[None]
    forward = 0.9 * math.log(1.8) + 0.1 * math.log(0.2)
    reverse = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(5.0)
    close(distill.forward_kl(student, teacher), [forward])
    close(distill.reverse_kl(student, teacher), [reverse])
    middle = (0.7, 0.3)
    js = 0.5 * sum(q * math.log(q / m) for q, m in zip((0.9, 0.1), middle, strict=True))
    js += 0.5 * sum(q * math.log(q / m) for q, m in zip((0.5, 0.5), middle, strict=True))
    close(distill.jensen_shannon(student, teacher), [js])
    close(distill.forward_kl(2 * student, 2 * teacher, temperature=2.0), [4 * forward])


def test_distillation_is_zero_at_the_teacher_and_moves_only_the_student() -> None:
    g = torch.Generator().manual_seed(0)
    student = torch.randn(4, 6, generator=g).requires_grad_()
    teacher = torch.randn(4, 6, generator=g).requires_grad_()
    for loss in (distill.forward_kl, distill.reverse_kl, distill.jensen_shannon):
        close(loss(teacher.detach(), teacher).detach(), [0.0] * 4)
        value = loss(student, teacher)
        assert (value > 0).all()
        value.sum().backward()
        assert teacher.grad is None
    impossible = torch.tensor([[0.0, -math.inf]])
    assert torch.isfinite(distill.forward_kl(torch.zeros(1, 2), impossible)).all()
