"""The kernel form of reading rows of logits and of turning them into their gradient (fused.cpp, gpu/rows.py).

Its torch twin is what `nn.logprob` does without it; the logits may be in bf16, what is found is fp32.
"""

from dataclasses import dataclass

from torch import Tensor

from heedful.engine.kernels import fused, product
from heedful.engine.kernels.choice import Built, kernels_for
from heedful.nn import logprob


@dataclass(frozen=True)
class HeadKernel:
    """`nn.logprob.Kernel`."""

    built: Built

    def times(self, left: Tensor, right: Tensor, out: Tensor, *, add: bool = False) -> None:
        """out [M, N] = left [M, K] right [N, K]^T, or += with `add`."""
        if (products := product.products_for(left, right)) is None:
            logprob.times(left, right, out, add=add)
        else:
            product.times(products, left, right, out, add=add)

    def read(self, z: Tensor, targets: Tensor, logsum: Tensor, logp: Tensor, entropy: Tensor | None) -> None:
        """Fill in log-sum-exp, log-prob of the target and entropy of each row. IndexError for no such target,
        or, where asking would wait for a device, NaN.
        """
        if z.is_cpu and bool(((targets < 0) | (targets >= z.shape[1])).any()):
            raise IndexError("a target lies outside the vocabulary")
        targets = targets.contiguous()
        fused.call(self.built, "head_forward", z.dtype, z, targets, logsum, logp, entropy, *z.shape)

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
        fused.call(self.built, "head_backward", z.dtype, *given, *z.shape)


def head_kernel(hidden: Tensor, weight: Tensor) -> HeadKernel | None:
    """The kernel for the logits of these states, or None where there is none for them."""
    built = kernels_for(hidden, weight)
    return None if built is None else HeadKernel(built)
