"""Each loss against numbers computed by hand or published, and the laws that a flipped sign would break."""

import math
from functools import partial

import pytest
import torch

from heedful import losses
from heedful.losses import advantage, bind, kl, policy, preference, reward, supervised

CHOSEN, REJECTED = [-0.5, -10.0, -1.0], [-0.1, -30.0, -21.0]
REF_CHOSEN, REF_REJECTED = [-0.5, -10.1, -0.1], [-0.1, -20.1, -0.1]


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values)


def close(actual: torch.Tensor, expected: list[float], atol: float = 1e-6) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected), atol=atol, rtol=0)


def test_dpo_golden() -> None:
    # Inputs of torchtune's test; h = [0, 10, 20] by hand.
    columns = [torch.tensor(x) for x in (CHOSEN, REJECTED, REF_CHOSEN, REF_REJECTED)]
    h = preference.margin(*columns)
    expected = [math.log1p(math.exp(-0.1 * float(x))) for x in h]
    close(preference.dpo(*columns, beta=0.1), expected)
    assert expected[0] == pytest.approx(math.log(2), abs=1e-6)


def test_dpo_is_ln2_at_the_reference_and_pushes_apart() -> None:
    chosen, rejected = t(-3.0).requires_grad_(), t(-4.0).requires_grad_()
    loss = preference.dpo(chosen, rejected, t(-3.0), t(-4.0), beta=0.5)
    assert loss.item() == pytest.approx(math.log(2))
    loss.sum().backward()
    assert chosen.grad.item() == pytest.approx(-0.25)
    assert rejected.grad.item() == pytest.approx(0.25)


def test_bradley_terry_over_all_pairs_of_a_ranking() -> None:
    # K=4, scores [1, .5, 0, -1]: the mean of the six pair losses.
    scores = t(1.0, 0.5, 0.0, -1.0)
    pairs = torch.combinations(torch.arange(4))
    value = reward.bradley_terry(scores[pairs[:, 0]], scores[pairs[:, 1]])
    assert float(value.mean()) == pytest.approx(0.3171698, abs=1e-6)


def test_reward_accuracy_counts_a_tie_half() -> None:
    close(reward.accuracy(t(1.0, 0.0, 2.0), t(0.0, 1.0, 2.0)), [1.0, 0.0, 0.5])


def test_ppo_clip_golden_off_policy() -> None:
    # NeMo-RL: A = [1, -1, 2], ratios [.5, 1, 1.5], eps .2.
    logp = torch.log(t(0.5, 1.0, 1.5))
    value = policy.ppo_clip(logp, torch.zeros(3), t(1.0, -1.0, 2.0), clip_range=0.2)
    close(value, [-0.5, 1.0, -2.4])


def test_ppo_clip_has_no_gradient_where_clipped() -> None:
    # Ratio beyond the range in the direction that the advantage rewards: no further push.
    logp = torch.log(t(1.5, 0.5, 1.5, 0.5)).requires_grad_()
    policy.ppo_clip(logp, torch.zeros(4), t(1.0, -1.0, -1.0, 1.0)).sum().backward()
    close(logp.grad, [0.0, 0.0, 1.5, -0.5])


def test_value_clip_takes_the_worse_of_the_two() -> None:
    value, old, returns = t(1.0, 0.1), t(0.0, 0.0), t(1.0, 1.0)
    close(policy.value_clip(value, old, returns, clip_range=0.2), [0.5 * 0.8**2, 0.5 * 0.9**2])


def test_gae_golden() -> None:
    rewards, values = torch.tensor([[0.0, 0, 0, 1]]), torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    adv, returns = advantage.gae(rewards, values, mask)
    close(adv[0], [0.799675, 0.7365, 0.67, 0.6])
    close(returns[0], [0.899675, 0.9365, 0.97, 1.0])
    adv, _ = advantage.gae(rewards, values, mask, gamma=0.99)
    close(adv[0], [0.773290, 0.718012, 0.6603, 0.6])


def test_gae_limits_and_padding() -> None:
    g = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(3, 6, generator=g), torch.randn(3, 6, generator=g)
    mask = torch.arange(6) < torch.tensor([[6], [4], [1]])
    to_go = (rewards * mask).flip(1).cumsum(1).flip(1)
    adv, _ = advantage.gae(rewards, values, mask, lam=1.0)
    torch.testing.assert_close(adv, (to_go - values) * mask)
    one_step = (rewards + torch.cat([(values * mask)[:, 1:], torch.zeros(3, 1)], 1) - values) * mask
    torch.testing.assert_close(advantage.gae(rewards, values, mask, lam=0.0)[0], one_step)
    short, _ = advantage.gae(rewards[1:2, :4], values[1:2, :4], mask[1:2, :4])
    torch.testing.assert_close(advantage.gae(rewards, values, mask)[0][1:2, :4], short)


GROUPS = [[1.0, 2.0, 3.0], [0.0, 0.0, 0.9]]


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        # Means 2 and 0.3; sample deviations 1 and 0.9 / sqrt(3); that of all six sqrt(1.375).
        ("group", [[-0.999900, 0.0, 0.999900], [-0.577239, -0.577239, 1.154478]]),
        ("batch", [[-0.852730, 0.0, 0.852730], [-0.255819, -0.255819, 0.511638]]),
        ("none", [[-1.0, 0.0, 1.0], [-0.3, -0.3, 0.6]]),
    ],
)
def test_group_relative_golden(scale: advantage.Scale, expected: list[list[float]]) -> None:
    found = advantage.group_relative(torch.tensor(GROUPS), scale=scale)
    torch.testing.assert_close(found, torch.tensor(expected), atol=2e-6, rtol=0)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_answers_that_earn_the_same_have_no_advantage_at_all(scale: advantage.Scale) -> None:
    """Not even that of rounding: the mean of three times 0.1 or 0.7 is not 0.1 or 0.7 in fp32."""
    values = torch.tensor([0.1, 0.7, -3.3, 1e-3, 12345.678])[:, None]
    for n in (2, 3, 5, 7):
        assert not advantage.group_relative(values.repeat(1, n), scale=scale).any()
    alike = torch.cat([values[:2].repeat(1, 3), torch.tensor([[0.0, 1.0, 0.5]])])
    assert not advantage.group_relative(alike, scale=scale)[:2].any()


def test_group_relative_knows_only_order_and_distance_within_a_prompt() -> None:
    rewards = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    found = advantage.group_relative(rewards)
    close(found.sum(1), [0.0] * 4)
    torch.testing.assert_close(advantage.group_relative(rewards + torch.arange(4.0)[:, None]), found)
    torch.testing.assert_close(advantage.group_relative(rewards * 1000), found, atol=1e-3, rtol=1e-3)
    assert (advantage.group_relative(-rewards).sign() == -found.sign()).all()


def test_whitening_uses_the_population_variance() -> None:
    x = t(1.0, 2.0, 3.0, 6.0)
    close(advantage.whiten(x), [(v - 3) / math.sqrt(3.5 + 1e-8) for v in (1, 2, 3, 6)])
    close(advantage.whiten(x, shift_mean=False) - advantage.whiten(x), [3.0] * 4)


def test_kl_estimators_golden() -> None:
    # NeMo-RL: logp -1, ref [0, -15, -30].
    logp, ref = torch.full((3,), -1.0), t(0.0, -15.0, -30.0)
    close(kl.k1(logp, ref), [-1.0, 14.0, 29.0])
    close(kl.k2(logp, ref), [0.5, 98.0, 420.5])
    close(kl.k3(logp, ref), [math.e - 2, 13.0, 28.0], atol=1e-5)


@pytest.mark.parametrize(
    ("value", "expected"), [(3.0, 0.148464), (6.0, 0.15), (7.0, 0.15128), (30.0, 0.151536)]
)
def test_kl_controller_golden(value: float, expected: float) -> None:
    found = kl.adapted(0.15, value, target=6.0, episodes=512, horizon=10_000)
    assert found == pytest.approx(expected, abs=1e-6)


def test_next_token_is_cross_entropy() -> None:
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([1, 2, 3, 4, 5])
    logp = logits.log_softmax(-1)[torch.arange(5), target]
    expected = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(supervised.next_token(logp), expected)


@pytest.mark.parametrize("name", losses.__all__)
def test_every_loss_names_known_columns_and_is_elementwise(name: str) -> None:
    loss = getattr(losses, name)
    bind.unit(loss)
    g = torch.Generator().manual_seed(0)
    values = {c: torch.randn(6, generator=g) for c in bind.columns(loss)}
    flipped = bind.bind(loss, {c: v.flip(0) for c, v in values.items()})
    torch.testing.assert_close(bind.bind(loss, values).flip(0), flipped)


def test_hyper_parameters_are_not_columns_and_unknown_columns_are_refused() -> None:
    assert bind.columns(partial(policy.ppo_clip, clip_range=0.1)) == ("logp", "behavior_logp", "advantage")

    def wrong(logp: torch.Tensor, moon_phase: torch.Tensor) -> torch.Tensor:
        return logp + moon_phase

    with pytest.raises(ValueError, match="moon_phase"):
        bind.unit(wrong)


def test_a_wrong_shape_is_caught() -> None:
    with pytest.raises(Exception, match=r"(?i)type-check|shape|beartype"):
        preference.dpo(torch.zeros(6), torch.zeros(5), torch.zeros(6), torch.zeros(6))
