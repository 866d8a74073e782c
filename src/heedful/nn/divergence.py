"""How far a policy is from a reference at each token, over every word, without the [tokens, vocabulary] matrix."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from heedful.nn.logprob import ROWS, Head, Sums, chunks


def token_kl(hidden: Tensor, head: Head, ref_hidden: Tensor, ref_head: Head, *, rows: int = ROWS) -> Tensor:
    """KL(policy || reference) [N] in nats after each of N tokens, in fp32 with the policy's exact gradient.

    hidden [N, D] and ref_hidden [N, D'] are last hidden states, of which `rows` become logits at once. Words that
    only the policy knows, the last of its head, are left out.
    """
    words = len(ref_head.weight)
    known = Head(head.weight[:words], None if head.bias is None else head.bias[:words])
    kl: Tensor = _TokenKl.apply(  # type: ignore[no-untyped-call]
        hidden, known.weight, known.bias, head, ref_hidden.to(ref_head.weight.dtype), ref_head, rows
    )
    return kl


class _TokenKl(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        head: Head,
        ref_hidden: Tensor,
        ref_head: Head,
        rows: int,
    ) -> Tensor:
        kl = hidden.new_empty(len(hidden), dtype=torch.float32)
        at_hand = Head(weight, bias, head.scale, head.softcap)
        with torch.no_grad():
            for part, logp, ratio, _ in _compared(hidden, at_hand, ref_hidden, ref_head, rows):
                kl[part] = (logp.exp() * ratio).sum(-1)
        ctx.save_for_backward(hidden, weight, bias, ref_hidden, ref_head.weight, ref_head.bias, kl)
        ctx.how = (head.scale, head.softcap), (ref_head.scale, ref_head.softcap), rows
        return kl

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """With p the policy's probabilities and q the reference's: d KL / d z = p (log p - log q - KL)."""
        hidden, weight, bias, ref_hidden, ref_weight, ref_bias, kl = ctx.saved_tensors
        mine, theirs, rows = ctx.how
        head, ref_head = Head(weight, bias, *mine), Head(ref_weight, ref_bias, *theirs)
        sums = Sums(head, hidden, ctx.needs_input_grad, None)
        for part, logp, ratio, slope in _compared(hidden, head, ref_hidden, ref_head, rows):
            grad = logp.exp_().mul_(ratio.sub_(kl[part, None])).mul_(grads[0][part, None])
            if slope is not None:
                grad *= slope
            sums.add(part, grad.mul_(head.scale) if head.scale != 1 else grad)
        return *sums.found(), *(None,) * 4


def _compared(hidden: Tensor, head: Head, ref_hidden: Tensor, ref_head: Head, rows: int) -> Any:
    """A few rows at a time: log p, log p - log q, and the slope of a cap."""
    mine = chunks(hidden, head, rows, None)
    theirs = chunks(ref_hidden, ref_head, rows, None)
    for (part, z), (_, ref) in zip(mine, theirs, strict=True):
        slope = None if head.softcap is None else 1 - (z / head.softcap).square_()
        z -= z.logsumexp(-1, keepdim=True)
        ref -= ref.logsumexp(-1, keepdim=True)
        yield part, z, torch.sub(z, ref, out=ref), slope
