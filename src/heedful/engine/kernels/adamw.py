"""AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) that scales gradients and rounds copies in the same pass.

A step reads and writes every weight, its gradient and two moments, and is bound by that: clipping, the update and the
copy in bf16 of a master weight are one pass by adamw.cpp. Its twin is torch's own, of which it keeps the state.
"""

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from ctypes import c_float, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor, nn

from heedful.engine.kernels import fused, library

_PART = 4096
_NUMBERS = ("rate", "beta1", "beta2", "eps", "kept", "factor", "correction", "root_correction")
_ARGUMENTS = (*(c_void_p,) * 5, c_int64, c_void_p, c_int64)


class _Adam(ctypes.Structure):
    """`Adam` of adamw.cpp, field for field."""

    _fields_ = tuple((name, c_float) for name in _NUMBERS)


class AdamW(torch.optim.AdamW):
    """torch's AdamW, of gradients times `factor`; what it makes of masters is written to the `copies` of them too."""

    def __init__(self, params: Any, copies: Mapping[nn.Parameter, nn.Parameter], **given: Any) -> None:
        # One kernel for all parameters; Adam's step count must stay on the device for it.
        super().__init__(params, **given, fused=True)
        self.copies, self.factor = copies, 1.0

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        found = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]
        built = library.built() if all(self._plain(p) for p, _ in found) else None
        if built is not None:
            for parameter, group in found:
                self._update(built, parameter, group)
            return
        if self.factor != 1:
            for parameter, _ in found:
                parameter.grad.mul_(self.factor)
        super().step()
        for parameter, copy in self.copies.items():
            copy.copy_(parameter)

    @staticmethod
    def _plain(parameter: Tensor) -> bool:
        """Whether a parameter and its gradient lie as the kernel reads them."""
        if parameter.grad is None:
            return False
        both = parameter, parameter.grad
        kind = parameter.device.type, parameter.dtype
        return kind == ("cpu", torch.float32) and fused.takes(*both) and all(x.is_contiguous() for x in both)

    def _update(self, built: ctypes.CDLL, parameter: Tensor, group: dict[str, Any]) -> None:
        state, copy = self.state[parameter], self.copies.get(parameter)  # type: ignore[call-overload]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        steps, rate, (beta1, beta2) = float(state["step"]), group["lr"], group["betas"]
        told = _Adam(
            rate,
            beta1,
            beta2,
            group["eps"],
            1 - rate * group["weight_decay"],
            self.factor,
            1 - beta1**steps,
            math.sqrt(1 - beta2**steps),
        )
        entry: Any = built.heedful_adamw
        if entry.argtypes is None:
            entry.argtypes, entry.restype = _ARGUMENTS, None
        tensors: list[Any] = [parameter, state["exp_avg"], state["exp_avg_sq"], parameter.grad]
        beside = copy is not None and copy.dtype == torch.bfloat16 and copy.is_cpu and copy.is_contiguous()
        pointers = [*(x.data_ptr() for x in tensors), copy.data_ptr() if beside else None]
        entry(*pointers, parameter.numel(), ctypes.byref(told), torch.get_num_threads())
        if copy is not None and not beside:
            copy.copy_(parameter)


def norm(gradients: Sequence[Tensor]) -> Tensor:
    """The norm of all gradients together, in fp32."""
    plain = all(x.is_cpu and x.dtype == torch.float32 and x.is_contiguous() for x in gradients)
    built = library.built() if plain and gradients and fused.takes(*gradients) else None
    if built is None:
        return nn.utils.get_total_norm(gradients, foreach=True)
    entry: Any = built.heedful_squares
    if entry.argtypes is None:
        entry.argtypes, entry.restype = (c_void_p, c_void_p, c_int64, c_int64), None
    parts = [torch.empty(-(-x.numel() // _PART), dtype=torch.float64) for x in gradients]
    for x, sums in zip(gradients, parts, strict=True):
        entry(x.data_ptr(), sums.data_ptr(), x.numel(), torch.get_num_threads())
    return torch.cat(parts).sum().sqrt().float()
