"""The compiled form of reading rows of logits and of turning them into their gradient (fused.cpp).

Its torch twin is what `nn.logprob` does without it; the logits may be in bf16, what is found is fp32.
"""

import ctypes
from dataclasses import dataclass

from torch import Tensor

from heedful.engine.kernels import fused, library


@dataclass(frozen=True)
class HeadKernel:
    """`nn.logprob.Kernel`."""

    library: ctypes.CDLL

    def read(self, z: Tensor, targets: Tensor, logsum: Tensor, logp: Tensor, entropy: Tensor | None) -> None:
        """Fill in log-sum-exp, log-prob of the target and entropy of each row. IndexError for no such target."""
        if bool(((targets < 0) | (targets >= z.shape[1])).any()):
            raise IndexError("a target lies outside the vocabulary")
        targets = targets.contiguous()
        fused.call(self.library, "head_forward", z.dtype, z, targets, logsum, logp, entropy, *z.shape)

    def turn(
        self,
        z: Tensor,
        targets: Tensor,
        logsum: Tensor,
        entropy: Tensor,
        of_logp: Tensor,
        of_entropy: Tensor | None,
    ) -> None:
        """Put the gradient in the place of the logits."""
        targets, of_logp = targets.contiguous(), of_logp.contiguous()
        of_entropy = None if of_entropy is None else of_entropy.contiguous()
        given = (z, targets, logsum, entropy, of_logp, of_entropy)
        fused.call(self.library, "head_backward", z.dtype, *given, *z.shape)


def head_kernel(hidden: Tensor, weight: Tensor) -> HeadKernel | None:
    """The kernel for the logits of these states, or None where this process goes without."""
    built = library.built()
    return None if built is None or not fused.takes(hidden, weight) else HeadKernel(built)
