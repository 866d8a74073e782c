"""Shape names used by the losses; checked in tests, free in production."""

from jaxtyping import Bool, Float
from torch import Tensor

PerToken = Float[Tensor, "token"]
PerSequence = Float[Tensor, "sequence"]
PerPair = Float[Tensor, "pair"]
Listed = Float[Tensor, "group answer"]
PerGroup = Float[Tensor, "group"]
Padded = Float[Tensor, "batch time"]
PaddedMask = Bool[Tensor, "batch time"]
PerAnswer = Float[Tensor, "prompt answer"]
Logits = Float[Tensor, "token vocabulary"]
