"""Log-probs and entropies of given tokens from hidden states, without the [tokens, vocabulary] matrix.

Logits are made for a few rows at a time in one buffer; what is kept is each row's log-sum-exp and entropy, from
which the backward makes them again. Four matrix products instead of three, for memory that does not grow with
tokens x vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ROWS = 256


@dataclass(frozen=True)
class Head:
    """Logits = cap(scale (h W^T + b)) with weight [V, D], bias [V] and cap(z) = softcap tanh(z / softcap)."""

    weight: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    def logits(self, hidden: Tensor) -> Tensor:
        """The logits [N, V] in fp32, whole."""
        z = torch.nn.functional.linear(hidden, self.weight, self.bias).float() * self.scale
        return z if self.softcap is None else self.softcap * torch.tanh(z / self.softcap)


def token_logprobs(
    hidden: Tensor, head: Head, targets: Tensor, *, entropy: bool = False, rows: int = ROWS
) -> tuple[Tensor, Tensor | None]:
    """Log-prob of each target and, if asked for, the entropy [N] in nats, both in fp32 with exact gradients.

    hidden [N, D]; targets [N]; `rows` is how many rows of logits exist at once.
    """
    logp, found = _LogProbs.apply(  # type: ignore[no-untyped-call]
        hidden, head.weight, head.bias, targets, head.scale, head.softcap, entropy, rows
    )
    return logp, found if entropy else None


class _LogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        scale: float,
        softcap: float | None,
        entropy: bool,
        rows: int,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.scale, ctx.softcap, ctx.rows = scale, softcap, rows
        logp, logsum = (hidden.new_empty(len(hidden), dtype=torch.float32) for _ in range(2))
        entropies = torch.empty_like(logp) if entropy else logp.new_empty(0)
        for part, z in _chunks(hidden, Head(weight, bias, scale, softcap), rows):
            logsum[part] = z.logsumexp(-1)
            z -= logsum[part, None]
            logp[part] = z.gather(-1, targets[part, None])[:, 0]
            if entropy:
                entropies[part] = -(z.exp() * z).sum(-1)
        ctx.save_for_backward(hidden, weight, bias, targets, logsum, entropies)
        return logp, entropies

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """With p the probabilities: d logp / d z = onehot - p, d entropy / d z = -p (log p + entropy)."""
        hidden, weight, bias, targets, logsum, entropies = ctx.saved_tensors
        of_logp, of_entropy = grads
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        for_hidden = torch.empty_like(hidden) if needs_hidden else None
        for_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_weight else None
        for_bias = torch.zeros_like(bias, dtype=torch.float32) if needs_bias else None
        head = Head(weight, bias, ctx.scale, ctx.softcap)
        for part, z in _chunks(hidden, head, ctx.rows):
            slope = 1 - (z / head.softcap).square_() if head.softcap is not None else None
            z -= logsum[part, None]
            grad = z.exp()
            if of_entropy is not None:
                along = z.add_(entropies[part, None]).mul_(of_entropy[part, None])
                grad.mul_(along if of_logp is None else along.add_(of_logp[part, None])).neg_()
            elif of_logp is not None:
                grad.mul_(-of_logp[part, None])
            if of_logp is not None:
                grad.scatter_add_(1, targets[part, None], of_logp[part, None])
            if slope is not None:
                grad *= slope
            grad = (grad.mul_(head.scale) if head.scale != 1 else grad).to(hidden.dtype)
            if for_hidden is not None:
                torch.mm(grad, weight, out=for_hidden[part])
            if for_weight is not None:
                _add_product(for_weight, grad.t(), hidden[part])
            if for_bias is not None:
                for_bias += grad.sum(0, dtype=torch.float32)
        return for_hidden, _like(for_weight, weight), _like(for_bias, bias), *(None,) * 5


def _chunks(hidden: Tensor, head: Head, rows: int) -> Iterator[tuple[slice, Tensor]]:
    """A few rows' logits at a time in fp32; the next ones take their place."""
    buffer = hidden.new_empty(min(rows, len(hidden)), len(head.weight))
    wide = buffer if buffer.dtype == torch.float32 else torch.empty_like(buffer, dtype=torch.float32)
    for start in range(0, len(hidden), rows):
        part = slice(start, min(start + rows, len(hidden)))
        n = part.stop - start
        z = torch.mm(hidden[part], head.weight.t(), out=buffer[:n])
        if head.bias is not None:
            z += head.bias
        if wide is not buffer:
            z = wide[:n].copy_(z)
        if head.scale != 1:
            z *= head.scale
        if head.softcap is not None:
            z.div_(head.softcap).tanh_().mul_(head.softcap)
        yield part, z


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right; the sum over chunks stays in fp32 whatever the factors are in."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def _like(total: Tensor | None, parameter: Tensor | None) -> Tensor | None:
    return None if total is None or parameter is None else total.to(parameter.dtype)
