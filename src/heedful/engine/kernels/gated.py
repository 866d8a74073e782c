"""A gated MLP in bf16 as one node: compiled products and what lies between them (product.cpp, fused.cpp).

Gate and up are made side by side, so that their gradient with respect to the input is one sum, and what is multiplied
with `down` is not kept for the backward but made again on the way.
"""

import ctypes
from ctypes import c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from heedful.engine.kernels.product import FEWEST, is_linear, products_for, summed, times

_ARGUMENTS = {"forward": (*(c_void_p,) * 2, *(c_int64,) * 3), "backward": (*(c_void_p,) * 4, *(c_int64,) * 3)}


def kernel_for(x: Tensor, *layers: Any) -> ctypes.CDLL | None:
    """The library that computes an MLP of such linear layers, or None where each goes its own way."""
    if x.numel() < FEWEST * x.shape[-1] or any(not is_linear(a) or a.bias is not None for a in layers):
        return None
    return products_for(x, *(layer.weight for layer in layers))


def mlp(built: ctypes.CDLL, x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """(silu(x gate^T) x up^T) down^T (Shazeer 2020, arXiv:2002.05202); x [..., D], gate and up [M, D], down [D, M]."""
    result: Tensor = _Gated.apply(built, x, gate, up, down)  # type: ignore[no-untyped-call]
    return result


def _call(built: ctypes.CDLL, name: str, *arguments: Any) -> None:
    entry = getattr(built, f"heedful_gated_{name}")
    if entry.argtypes is None:
        entry.argtypes, entry.restype = _ARGUMENTS[name], None
    entry(*(x.data_ptr() if isinstance(x, Tensor) else x for x in arguments), torch.get_num_threads())


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, built: ctypes.CDLL, x: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
        rows, (width, _) = x.flatten(0, -2), gate.shape
        made, hidden = x.new_empty(len(rows), 2 * width), x.new_empty(len(rows), width)
        times(built, rows, gate, made[:, :width])
        times(built, rows, up, made[:, width:])
        _call(built, "forward", made, hidden, *hidden.shape)
        ctx.save_for_backward(x, gate, up, down, made)
        ctx.built = built
        out = x.new_empty(*x.shape[:-1], len(down))
        times(built, hidden, down, out.view(-1, len(down)))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        built, (x, gate, up, down, made) = ctx.built, ctx.saved_tensors
        _, of_x, of_gate, of_up, of_down = ctx.needs_input_grad
        dy, width = grads[0].flatten(0, -2), len(gate)
        hidden, along = (made.new_empty(len(made), width) for _ in range(2))
        times(built, dy, down.t(), along)
        turned = torch.empty_like(made)
        _call(built, "backward", along, made, hidden, turned, *hidden.shape)
        dx, dw, to_down = None, None, None
        if of_down:
            to_down = torch.empty(down.shape, dtype=torch.float32)
            times(built, dy.t(), hidden.t(), to_down)
        if of_gate or of_up:
            dw = torch.empty(2 * width, gate.shape[1], dtype=torch.float32)
            times(built, turned.t(), x.flatten(0, -2).t(), dw)
        if of_x:
            dx = torch.empty_like(x, memory_format=torch.contiguous_format)
            both = [(turned[:, :width], gate.t()), (turned[:, width:], up.t())]
            summed(built, both, dx.view(-1, x.shape[-1]))
        to_gate, to_up = (None, None) if dw is None else (dw[:width], dw[width:])
        return None, dx, to_gate if of_gate else None, to_up if of_up else None, to_down
