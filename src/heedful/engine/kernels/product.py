"""Linear layers in bf16 by compiled products (product.cpp), for training, and their torch twin.

torch prepares every product for its numbers of rows and columns and forgets most of what it prepared; rows of packed
tokens are of another length each time. These products take any size at once. The gradient of a weight is computed in
fp32, and stays so where the weight collects such (`Parameter.grad_dtype`).
"""

import ctypes
from collections.abc import Sequence
from ctypes import c_int64, c_void_p
from functools import cache
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from heedful.engine.kernels import fused
from heedful.engine.kernels.choice import kernels_for

FEWEST = 64
"""Rows from which on a product is the kernel's: it lays out the whole weight anew for each."""
_DEEPEST = 4096
"""Depth up to which sums stay where they are computed until they are rounded to bf16."""
_SIDE = (("", c_void_p), ("_line", c_int64), ("_deep", c_int64))
_ARGUMENTS = (c_void_p, c_int64, c_void_p, *(c_int64,) * 5)


class _Term(ctypes.Structure):
    """`Term` of product.cpp, field for field."""

    _fields_ = (
        *((f"{side}{of}", kind) for side in ("left", "right") for of, kind in _SIDE),
        ("k", c_int64),
    )


def products_for(*tensors: Tensor) -> ctypes.CDLL | None:
    """The library that multiplies these, where it and the processor's matrix tiles are at hand."""
    if tensors[0].dtype != torch.bfloat16 or not tensors[0].is_cpu:
        return None
    built = kernels_for(*tensors)
    return built if isinstance(built, ctypes.CDLL) and _has_tiles(built) else None


@cache
def _has_tiles(built: ctypes.CDLL) -> bool:
    return bool(built.heedful_tiles())


def times(built: ctypes.CDLL, left: Tensor, right: Tensor, out: Tensor, *, add: bool = False) -> Tensor:
    """out [M, N] = left [M, K] right [N, K]^T, or, in fp32, += with `add`; left and right in bf16, out in bf16 or fp32.

    Every matrix has one dense dimension; out's is the last.
    """
    return summed(built, [(left, right)], out, add=add)


def summed(
    built: ctypes.CDLL, products: Sequence[tuple[Tensor, Tensor]], out: Tensor, *, add: bool = False
) -> Tensor:
    """The same for a sum of products, each of a left and a right side, without rounding in between."""
    sides = [(_dense(left), _dense(right)) for left, right in products]
    depth = sum(left.shape[1] for left, _ in sides)
    if out.dtype == torch.bfloat16 and depth > _DEEPEST:
        return out.copy_(summed(built, sides, torch.empty_like(out, dtype=torch.float32)))
    entry = getattr(built, f"heedful_product_{fused.NAMES[out.dtype]}")
    if entry.argtypes is None:
        entry.argtypes, entry.restype = _ARGUMENTS, None
    told = [
        _Term(left.data_ptr(), *left.stride(), right.data_ptr(), *right.stride(), left.shape[1])
        for left, right in sides
    ]
    terms = (_Term * len(told))(*told)
    entry(terms, len(sides), out.data_ptr(), out.stride(0), *out.shape, add, torch.get_num_threads())
    return out


def _dense(x: Tensor) -> Tensor:
    return x if 1 in x.stride() else x.contiguous()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., in] weight [out, in]^T + bias: by the kernel where there is one for it, else by torch."""
    built = products_for(x, weight) if x.numel() >= FEWEST * x.shape[-1] else None
    if built is None:
        return F.linear(x, weight, bias)
    result: Tensor = _Linear.apply(built, x, weight)  # type: ignore[no-untyped-call]
    return result if bias is None else result + bias


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, built: ctypes.CDLL, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.built = built
        out = x.new_empty(*x.shape[:-1], len(weight))
        times(built, x.flatten(0, -2), weight, out.view(-1, len(weight)))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dy = grads[0].flatten(0, -2)
        dx, dw = None, None
        if ctx.needs_input_grad[1]:
            dx = torch.empty_like(x, memory_format=torch.contiguous_format)
            times(ctx.built, dy, weight.t(), dx.view(-1, x.shape[-1]))
        if ctx.needs_input_grad[2]:
            dw = torch.empty(weight.shape, dtype=torch.float32)
            times(ctx.built, dy.t(), x.flatten(0, -2).t(), dw)
        return None, dx, dw


def use_products(layer: nn.Linear) -> None:
    """Send a linear layer through `linear`."""
    layer.forward = MethodType(_forward, layer)  # type: ignore[method-assign]


def is_linear(layer: Any) -> bool:
    """Whether this is a linear layer and nothing else, sent through `linear` or not."""
    if type(layer) is not nn.Linear:
        return False
    forward = vars(layer).get("forward")
    return forward is None or getattr(forward, "__func__", None) is _forward


def _forward(self: Any, input: Tensor) -> Tensor:
    return linear(input, self.weight, self.bias)
