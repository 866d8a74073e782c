"""Pure maths: every loss is a function of the columns it names and returns unreduced values."""

from heedful.losses.policy import ppo_clip, value_clip
from heedful.losses.preference import dpo
from heedful.losses.reward import bradley_terry
from heedful.losses.supervised import next_token

__all__ = ["bradley_terry", "dpo", "next_token", "ppo_clip", "value_clip"]
