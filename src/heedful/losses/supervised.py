"""Losses on given text. One value per token, unreduced."""

from heedful.losses.shapes import PerToken


def next_token(logp: PerToken) -> PerToken:
    """Negative log-likelihood of each trained token: -log pi(y_t | y_<t)."""
    return -logp
