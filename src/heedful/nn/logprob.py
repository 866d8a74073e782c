"""Log-probs and entropies of given tokens from hidden states, without the [tokens, vocabulary] matrix.

Logits are made for a few rows at a time in one buffer. Where it is known what the backward will ask for (`Guess`: a
loss of each token alone), the gradient is taken while they are there: three matrix products, as with whole logits.
Else each row's log-sum-exp and entropy are kept, from which the backward makes its logits again: four products.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = 256
KERNEL_ROWS, KERNEL_LOGITS = 2048, 2**25
"""With a kernel more rows at once save the sum of the weight's gradients some passes, as long as they are not large."""


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


class Guess(Protocol):
    """What a backward will ask for, told in advance: where that is right, nothing is computed twice."""

    def __call__(self, part: slice, logp: Tensor, entropy: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The gradients of rows `part` with respect to their log-probs and, if there are any, entropies."""

    def missed(self) -> None:
        """It was wrong: a loss mixes tokens."""


class Kernel(Protocol):
    """A compiled form of what is done to rows of plain logits z [n, V] (engine/kernels/head.py)."""

    def times(self, left: Tensor, right: Tensor, out: Tensor, *, add: bool = False) -> None: ...

    def read(
        self, z: Tensor, targets: Tensor, logsum: Tensor, logp: Tensor, entropy: Tensor | None
    ) -> None: ...

    def turn(
        self,
        z: Tensor,
        targets: Tensor,
        logsum: Tensor,
        entropy: Tensor,
        of_logp: Tensor,
        of_entropy: Tensor | None,
    ) -> None: ...


def token_logprobs(
    hidden: Tensor,
    head: Head,
    targets: Tensor,
    *,
    entropy: bool = False,
    rows: int | None = None,
    guess: Guess | None = None,
    kernel: Kernel | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Log-prob of each target and, if asked for, the entropy [N] in nats, both in fp32 with exact gradients.

    hidden [N, D]; targets [N]; `rows` is how many rows of logits exist at once. A `kernel` is used for plain heads.
    """
    if head.scale != 1 or head.softcap is not None:
        kernel = None
    if rows is None:
        rows = ROWS if kernel is None else max(ROWS, min(KERNEL_ROWS, KERNEL_LOGITS // len(head.weight)))
    logp, found = _LogProbs.apply(  # type: ignore[no-untyped-call]
        hidden, head.weight, head.bias, targets, head, entropy, rows, guess, kernel
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
        head: Head,
        entropy: bool,
        rows: int,
        guess: Guess | None,
        kernel: Kernel | None,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        logp, logsum = (hidden.new_empty(len(hidden), dtype=torch.float32) for _ in range(2))
        entropies = torch.empty_like(logp) if entropy else logp.new_empty(0)
        at_hand = Head(weight, bias, head.scale, head.softcap)
        sums, guessed = None, None
        if guess is not None and any(ctx.needs_input_grad[:3]):
            sums = Sums(at_hand, hidden, ctx.needs_input_grad, kernel)
            guessed = torch.empty_like(logp), torch.empty_like(entropies)
        for part, z in chunks(hidden, at_hand, rows, kernel):
            own = entropies[part] if entropy else None
            if kernel is not None:
                kernel.read(z, targets[part], logsum[part], logp[part], own)
            else:
                _read(z, targets[part], logsum[part], logp[part], own)
            if sums is None or guessed is None or guess is None:
                continue
            asked = guess(part, logp[part], own)
            for kept, value in zip(guessed, asked, strict=True):
                if value is not None:
                    kept[part] = value
            sums.add(part, _turn(kernel, z, at_hand, targets[part], logsum[part], own, *asked))
        ctx.save_for_backward(hidden, weight, bias, targets, logsum, entropies)
        ctx.rows, ctx.head, ctx.kernel = rows, (head.scale, head.softcap), kernel
        ctx.sums, ctx.guessed, ctx.guess = sums, guessed, guess
        return logp, entropies

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        of_logp, of_entropy = grads
        if ctx.sums is not None:
            if _near(ctx.guessed[0], of_logp) and _near(ctx.guessed[1], of_entropy):
                return *ctx.sums.found(), *(None,) * 6
            ctx.guess.missed()
        hidden, weight, bias, targets, logsum, entropies = ctx.saved_tensors
        head = Head(weight, bias, *ctx.head)
        sums = Sums(head, hidden, ctx.needs_input_grad, ctx.kernel)
        for part, z in chunks(hidden, head, ctx.rows, ctx.kernel):
            if ctx.kernel is None:
                z -= logsum[part, None]
            own = None if of_entropy is None else entropies[part]
            asked = (None if of is None else of[part] for of in (of_logp, of_entropy))
            sums.add(part, _turn(ctx.kernel, z, head, targets[part], logsum[part], own, *asked))
        return *sums.found(), *(None,) * 6


def _near(guessed: Tensor, asked: Tensor | None) -> bool:
    if asked is None:
        return not bool(guessed.any())
    return bool(((guessed - asked).abs() <= 1e-6 * asked.abs()).all())


def _read(z: Tensor, targets: Tensor, logsum: Tensor, logp: Tensor, entropy: Tensor | None) -> None:
    """Fill in what is known of each row of logits z, which become log-probs."""
    logsum.copy_(z.logsumexp(-1))
    z -= logsum[:, None]
    logp.copy_(z.gather(-1, targets[:, None])[:, 0])
    if entropy is not None:
        entropy.copy_(-(z.exp() * z).sum(-1))


def _turn(
    kernel: Kernel | None,
    z: Tensor,
    head: Head,
    targets: Tensor,
    logsum: Tensor,
    entropy: Tensor | None,
    of_logp: Tensor | None,
    of_entropy: Tensor | None = None,
) -> Tensor:
    """The gradient with respect to h W^T + b, in the place of z: logits for a kernel, else log-probs.

    With p the probabilities: d logp / d z = onehot - p, d entropy / d z = -p (log p + entropy).
    """
    if of_logp is None:
        of_logp = torch.zeros_like(logsum)
    if kernel is not None:
        kernel.turn(z, targets, logsum, logsum if entropy is None else entropy, of_logp, of_entropy)
        return z
    slope = None
    if head.softcap is not None:
        slope = 1 - ((z + logsum[:, None]) / head.softcap).square_()
    grad = z.exp()
    if of_entropy is not None and entropy is not None:
        along = z.add_(entropy[:, None]).mul_(of_entropy[:, None])
        grad.mul_(along.add_(of_logp[:, None])).neg_()
    else:
        grad.mul_(-of_logp[:, None])
    grad.scatter_add_(1, targets[:, None], of_logp[:, None])
    if slope is not None:
        grad *= slope
    return grad.mul_(head.scale) if head.scale != 1 else grad


class Sums:
    """Gradients of hidden states, weight and bias, as far as they are needed, summed over chunks of rows."""

    def __init__(self, head: Head, hidden: Tensor, needed: tuple[bool, ...], kernel: Kernel | None) -> None:
        self.head, self.states = head, hidden
        self.times = times if kernel is None else kernel.times
        self.hidden = torch.empty_like(hidden) if needed[0] else None
        self.weight = torch.empty_like(head.weight, dtype=torch.float32) if needed[1] else None
        self.begun = False
        self.bias = (
            torch.zeros_like(head.bias, dtype=torch.float32) if head.bias is not None and needed[2] else None
        )

    def add(self, part: slice, grad: Tensor) -> None:
        grad = grad.to(self.states.dtype)
        if self.hidden is not None:
            self.times(grad, self.head.weight.t(), self.hidden[part])
        if self.weight is not None:
            self.times(grad.t(), self.states[part].t(), self.weight, add=self.begun)
        if self.bias is not None:
            self.bias += grad.sum(0, dtype=torch.float32)
        self.begun = True

    def found(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The parameters' are in fp32: autograd makes of them what these collect."""
        if self.weight is not None and not self.begun:
            self.weight.zero_()
        return self.hidden, self.weight, self.bias


def chunks(hidden: Tensor, head: Head, rows: int, kernel: Kernel | None) -> Iterator[tuple[slice, Tensor]]:
    """A few rows' logits at a time, in fp32 or as a kernel takes them; the next ones take their place."""
    product = times if kernel is None else kernel.times
    buffer = hidden.new_empty(min(rows, len(hidden)), len(head.weight))
    wide = buffer
    if buffer.dtype != torch.float32 and kernel is None:
        wide = torch.empty_like(buffer, dtype=torch.float32)
    for start in range(0, len(hidden), rows):
        part = slice(start, min(start + rows, len(hidden)))
        n = part.stop - start
        z = buffer[:n]
        product(hidden[part], head.weight, z)
        if head.bias is not None:
            z += head.bias
        if wide is not buffer:
            z = wide[:n].copy_(z)
        if head.scale != 1:
            z *= head.scale
        if head.softcap is not None:
            z.div_(head.softcap).tanh_().mul_(head.softcap)
        yield part, z


def times(left: Tensor, right: Tensor, out: Tensor, *, add: bool = False) -> None:
    """out = left right^T, or += with `add`: a sum over chunks stays in fp32 whatever the factors are in."""
    if not add:
        if left.dtype == out.dtype:
            torch.mm(left, right.t(), out=out)
        else:
            out.copy_(left @ right.t())
    elif left.dtype == out.dtype:
        out.addmm_(left, right.t())
    else:
        out += left @ right.t()
