"""An objective's gradients of log-probs and entropies, before the whole objective is known.

Where every term that reads them is a loss of each token alone, and what else it reads travels with the batch, its
gradient for a few tokens is what it will be for all: the head can then take its own gradient while the logits are
there (`nn.logprob`). The backward compares what was told with what it is given, so that a loss that mixes tokens
after all costs time and not truth; from then on nothing is told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from heedful.engine.batch import Packed
from heedful.losses import bind
from heedful.losses.bind import Unit
from heedful.nn.logprob import Guess

if TYPE_CHECKING:
    from heedful.engine.fit import Term

_FOUND = ("logp", "entropy")


@dataclass
class Foresight:
    """What can be told of the gradients of an objective; nothing after it has been wrong once."""

    terms: "Sequence[Term]"
    wrong: bool = False

    def of(self, packed: Packed, counts: Mapping[Unit, float]) -> Guess | None:
        """The guess for one micro-batch, or None where there is none to be made."""
        if self.wrong:
            return None
        readers = [t for t in self.terms if {bind.quantity(c) for c in bind.columns(t.loss)} & {*_FOUND}]
        at_hand = {*_FOUND, *packed.columns}
        if not readers or any(not at_hand.issuperset(bind.columns(t.loss)) for t in readers):
            return None
        return _Told(self, readers, packed, counts["token"])


@dataclass
class _Told:
    foresight: Foresight
    terms: "Sequence[Term]"
    packed: Packed
    count: float

    def __call__(self, part: slice, logp: Tensor, entropy: Tensor | None) -> tuple[Tensor, Tensor | None]:
        given = {"logp": logp} | ({} if entropy is None else {"entropy": entropy})
        inputs = {name: x.detach().requires_grad_() for name, x in given.items()}
        values = {name: x[part] for name, x in self.packed.columns.items()} | inputs
        weight = self.packed.weights["token"][part]
        total = torch.zeros((), device=logp.device)
        with torch.enable_grad():
            for term in self.terms:
                total = total + term.weight * ((bind.bind(term.loss, values) * weight).sum() / self.count)
            found = torch.autograd.grad(total, list(inputs.values()), materialize_grads=True)
        return found[0], None if entropy is None else found[1]

    def missed(self) -> None:
        self.foresight.wrong = True
