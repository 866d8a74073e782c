"""Pure maths: every loss is a function of the columns it names and returns unreduced values."""

from heedful.losses.policy import entropy_bonus, importance, ppo_clip, reinforce, value_clip, value_error
from heedful.losses.preference import dpo
from heedful.losses.reward import bradley_terry
from heedful.losses.supervised import next_token

__all__ = [
    "bradley_terry",
    "dpo",
    "entropy_bonus",
    "importance",
    "next_token",
    "ppo_clip",
    "reinforce",
    "value_clip",
    "value_error",
]
