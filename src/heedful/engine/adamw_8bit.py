"""AdamW whose two moments are kept in 8 bits (Dettmers et al. 2022, arXiv:2110.02861): 2 bytes a weight instead of 8.

Moments are quantised in blocks of 256, each on the scale of its largest value, to the 256 values of the dynamic map:
seven decades, with finer steps the larger a value is. Of the second moment its root is kept: it has the first moment's
range, so that it is not rounded to zero where that is not. A parameter of less than 4,096 elements keeps its moments in
fp32, as in the paper. Rounding is to the nearest value and depends on nothing else, so a run that is resumed goes on
bit for bit.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

BLOCK = 256
LEAST = 4096
"""Elements from which on moments are quantised."""


@cache
def dynamic_map(signed: bool) -> Tensor:
    """The 256 values in [-1, 1] or [0, 1], ascending: after a power of ten, a linear fraction (section 1.3)."""
    found = [0.0, 1.0]
    for decade in range(7):
        steps = 2 ** (decade + (0 if signed else 1))
        edges = torch.linspace(0.1, 1, steps + 1, dtype=torch.float64)
        middles = (10.0 ** (decade - 6) * (edges[:-1] + edges[1:]) / 2).tolist()
        found += [sign * value for value in middles for sign in ((1, -1) if signed else (1,))]
    return torch.tensor(sorted(found), dtype=torch.float32)


def quantised(values: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """Codes (uint8, one a value) and the scale of each block (fp32) of a flat tensor."""
    blocks = torch.nn.functional.pad(values, (0, -len(values) % BLOCK)).view(-1, BLOCK)
    scale = blocks.abs().amax(1)
    known = dynamic_map(signed).to(values.device)
    between = (known[1:] + known[:-1]) / 2
    relative = blocks / scale.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
    return torch.bucketize(relative, between).to(torch.uint8).view(-1)[: len(values)], scale


def restored(codes: Tensor, scale: Tensor, signed: bool) -> Tensor:
    """The values that codes stand for."""
    values = dynamic_map(signed).to(codes.device)[codes.long()]
    return values * scale.repeat_interleave(BLOCK)[: len(codes)]


class AdamW8bit(torch.optim.Optimizer):
    """AdamW (Loshchilov and Hutter 2019) with moments in 8 bits."""

    def __init__(
        self, params: Any, *, lr: float, betas: tuple[float, float], eps: float, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        gradient = parameter.grad.detach().flatten().float()  # type: ignore[union-attr]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            for name, signed in _MOMENTS:
                _keep(state, name, torch.zeros_like(gradient), signed)
        state["step"] += 1
        first, root = (_of(state, name, signed) for name, signed in _MOMENTS)
        beta1, beta2 = group["betas"]
        first.lerp_(gradient, 1 - beta1)
        root = root.square_().mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2).sqrt_()
        for (name, signed), moment in zip(_MOMENTS, (first, root), strict=True):
            _keep(state, name, moment, signed)
        steps = float(state["step"])
        root = root / math.sqrt(1 - beta2**steps) + group["eps"]
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        change = (first / root).mul_(-group["lr"] / (1 - beta1**steps))
        parameter.add_(change.view_as(parameter))


_MOMENTS = (("exp_avg", True), ("exp_avg_sq_root", False))


def _keep(state: dict[str, Tensor], name: str, moment: Tensor, signed: bool) -> None:
    if len(moment) < LEAST:
        state[name] = moment
    else:
        state[name], state[f"{name}_scale"] = quantised(moment, signed)


def _of(state: dict[str, Tensor], name: str, signed: bool) -> Tensor:
    kept, scale = state[name], state.get(f"{name}_scale")
    return kept.clone() if scale is None else restored(kept, scale, signed)
