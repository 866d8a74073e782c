"""A figure with its interval, or the reason why there is none."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """`value` within `low` to `high`, from `n` observations; without a value, `reason` says why.

    The interval holds the true value with the confidence that was asked for (95 % unless stated otherwise);
    `low` and `high` are None where no interval was asked for or none exists, and `reason` then says why.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str = ""


def undefined(reason: str, n: int = 0) -> Estimate:
    """An estimate that does not exist."""
    return Estimate(None, n=n, reason=reason)
