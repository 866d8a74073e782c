"""An objective's gradients of log-probs and entropies, before the whole objective is known.

Where every term that reads them is a loss of each token alone, and what else it reads travels with the batch, its
gradient for a few tokens is what it will be for all: the head can then take its own gradient while the logits are
there (`nn.logprob`). The backward compares what was told with what it is given, so that a loss that mixes tokens
after all costs time and not truth; from then on nothing is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from heedful.engine.batch import Packed
from heedful.losses import bind
from heedful.losses.bind import Loss
from heedful.nn.logprob import Guess

_FOUND = ("logp", "entropy")

Weighed = Sequence[tuple[Loss, float]]
"""Losses, each with what its sum is multiplied by: its weight over its count."""


@dataclass
class Foresight:
    """What can be told of the gradients of an objective; nothing after it has been wrong once."""

    wrong: bool = False

    def of(self, packed: Packed, terms: Weighed) -> Guess | None:
        """The guess for one micro-batch, or None where there is none to be made."""
        if self.wrong:
            return None
        readers = [(f, w) for f, w in terms if {bind.quantity(c) for c in bind.columns(f)} & {*_FOUND}]
        at_hand = {*_FOUND, *packed.columns}
        if not readers or any(not at_hand.issuperset(bind.columns(f)) for f, _ in readers):
            return None
        return _Told(self, readers, packed)


@dataclass
class _Told:
    foresight: Foresight
    terms: Weighed
    packed: Packed

    def __call__(self, part: slice, logp: Tensor, entropy: Tensor | None) -> tuple[Tensor, Tensor | None]:
        given = {"logp": logp} | ({} if entropy is None else {"entropy": entropy})
        inputs = {name: x.detach().requires_grad_() for name, x in given.items()}
        named = {c for loss, _ in self.terms for c in bind.columns(loss)} - inputs.keys()
        values = {name: self.packed.columns[name][part] for name in named} | inputs
        weight = self.packed.weights["token"][part]
        total = torch.zeros((), device=logp.device)
        with torch.enable_grad():
            for loss, factor in self.terms:
                total = total + factor * (bind.bind(loss, values) * weight).sum()
            found = torch.autograd.grad(total, list(inputs.values()), materialize_grads=True)
        return found[0], None if entropy is None else found[1]

    def missed(self) -> None:
        self.foresight.wrong = True
