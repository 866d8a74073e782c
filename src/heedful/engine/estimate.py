"""From the rewards of sampled answers to the columns that a policy learns from: advantages, and a critic's targets."""

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from heedful.engine.table import Table
from heedful.losses import advantage

Estimator = Literal["gae", "monte_carlo", "leave_one_out", "group"]
Whitening = bool | Literal["scale"]

Columns = dict[str, Tensor]
Figures = dict[str, float]


def estimated(
    rewards: Tensor, table: Table, settings: Any, values: Callable[[], Tensor]
) -> tuple[Columns, Figures]:
    """Padded columns and figures by the estimator that `settings.advantage` names; `values` asks the critic."""
    estimate = {"gae": _gae, "monte_carlo": _monte_carlo, "leave_one_out": _of_group, "group": _of_group}
    return estimate[settings.advantage](rewards, table, settings, values)


def _gae(rewards: Tensor, table: Table, s: Any, values: Callable[[], Tensor]) -> tuple[Columns, Figures]:
    found, mask = values(), table.mask
    if s.whiten_rewards:
        rewards[mask] = advantage.whiten(rewards[mask], shift_mean=False)
    advantages, returns = advantage.gae(rewards, found, mask, gamma=s.gamma, lam=s.lam)
    whiten(advantages, mask, s.whiten_advantages)
    columns = {"advantage": advantages, "old_value": found, "returns": returns}
    return columns, {"value_explained": explained(found[mask], returns[mask])}


def _monte_carlo(
    rewards: Tensor, table: Table, s: Any, values: Callable[[], Tensor]
) -> tuple[Columns, Figures]:
    advantages = advantage.monte_carlo(rewards, table.mask, gamma=s.gamma, baseline=s.baseline)
    whiten(advantages, table.mask, s.whiten_advantages)
    return {"advantage": advantages}, {}


def _of_group(rewards: Tensor, table: Table, s: Any, values: Callable[[], Tensor]) -> tuple[Columns, Figures]:
    """One advantage an answer, from the whole answer's reward beside the others' to its prompt."""
    per_answer = rewards.sum(1).view(-1, s.num_generations)
    if s.advantage == "group":
        advantages = advantage.group_relative(per_answer, scale=s.scale_rewards)
    else:
        advantages = advantage.leave_one_out(per_answer)
    alike = float((advantages == 0).all(1).float().mean())
    return {"advantage": advantages.view(-1, 1) * table.mask}, {"frac_reward_zero_std": alike}


def whiten(advantages: Tensor, mask: Tensor, how: Whitening) -> None:
    """Whiten in place over all tokens: to mean 0 and deviation 1, or in `scale` alone."""
    if how:
        advantages[mask] = advantage.whiten(advantages[mask], shift_mean=how != "scale")


def explained(values: Tensor, returns: Tensor) -> float:
    """The share of the returns' variance that the critic explains."""
    return 1.0 - float((returns - values).var(correction=0) / returns.var(correction=0).clamp_min(1e-8))
