"""Small products that read the same states, done as one while answers are sampled.

A decoding step has few rows, so that a layer's time goes into calls: queries, keys and values come out of one product,
and so do gate and up. No model is edited: while `joined` lasts, the first of the layers that belong together computes
for all, and the others hand out their parts.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heedful.engine.kernels import fused, library

TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
LARGEST = 2**22
"""Elements of a joined matrix from which on calls do not matter, and its copy would."""


@contextmanager
def joined(model: nn.Module) -> Iterator[None]:
    """Join what belongs together, where the compiled kernels are in use; weights must not change inside."""
    changed: list[nn.Module] = []
    if library.built() is not None:
        for part in model.modules():
            for names in TOGETHER:
                layers = [getattr(part, name, None) for name in names]
                if _alike(layers):
                    changed += _join(layers)
    try:
        yield
    finally:
        for layer in changed:
            del layer.forward


def _alike(layers: Sequence[Any]) -> bool:
    """Whether these are plain linear layers, small together, that can read the same states."""
    if any(type(layer) is not nn.Linear or "forward" in vars(layer) for layer in layers):
        return False
    weights = [layer.weight for layer in layers]
    return (
        fused.takes(*weights)
        and len({w.shape[1] for w in weights}) == 1
        and len({layer.bias is None for layer in layers}) == 1
        and sum(w.numel() for w in weights) <= LARGEST
    )


def _join(layers: Sequence[Any]) -> Sequence[nn.Module]:
    with torch.no_grad():
        weight = torch.cat([layer.weight for layer in layers])
        bias = None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])
    sizes = [layer.out_features for layer in layers]
    waiting: dict[int, Tensor] = {}
    given: list[Tensor] = []

    def first(x: Tensor) -> Tensor:
        mine: Tensor
        mine, *others = torch.split(F.linear(x, weight, bias), sizes, -1)
        waiting.update(enumerate(others, 1))
        given[:] = [x]
        return mine

    def later(number: int) -> Callable[[Tensor], Tensor]:
        layer = layers[number]

        def forward(x: Tensor) -> Tensor:
            if given and x is given[0] and number in waiting:
                return waiting.pop(number)
            return F.linear(x, layer.weight, layer.bias)

        return forward

    for number, layer in enumerate(layers):
        layer.forward = later(number) if number else first
    return layers
