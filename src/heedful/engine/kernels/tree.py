"""Attention over packed rows in bf16 as two compiled calls a layer (tree.cpp), where the processor has matrix tiles.

The torch twin is `engine.attention`'s loop of flash calls over segments.
"""

import ctypes
from ctypes import c_float, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from heedful.engine.kernels.product import products_for
from heedful.engine.layout import Layout

MOST_ROWS, WIDEST = 8192, 256
"""Rows of a group and numbers of a head that a thread lays out anew."""

_POINTERS = ("q", "k", "v", "out", "logsum", "dout", "dq", "dk", "dv", "starts", "firsts")
_SIZES = ("groups", "rows", "heads", "kv_heads", "width", "threads")
_STRIDES = tuple(f"{name}_{of}" for name in ("q", "k", "v", "dout") for of in ("head", "row"))


class _Row(ctypes.Structure):
    """`Row` of tree.cpp, field for field."""

    _fields_ = (
        *((name, c_void_p) for name in _POINTERS),
        *((name, c_int64) for name in (*_SIZES, *_STRIDES)),
        ("scale", c_float),
    )


def kernel_for(q: Tensor, k: Tensor, v: Tensor, layout: Layout) -> ctypes.CDLL | None:
    """The library that computes attention of such rows, or None for torch."""
    longest = max(group.size for group in layout.groups)
    if len(q) != 1 or q.shape[-1] > WIDEST or q.shape[-1] != v.shape[-1] or longest > MOST_ROWS:
        return None
    return products_for(q, k, v)


def attend(built: ctypes.CDLL, q: Tensor, k: Tensor, v: Tensor, layout: Layout, scale: float) -> Tensor:
    """q [1,H,T,D] over k, v [1,Hkv,T,D]: [1,T,H,D]."""
    found: Tensor = _Tree.apply(built, q, k, v, layout, scale)  # type: ignore[no-untyped-call]
    return found


class _Tree(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, built: ctypes.CDLL, q: Tensor, k: Tensor, v: Tensor, layout: Layout, scale: float
    ) -> Tensor:
        q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
        _, heads, rows, width = q.shape
        out, logsum = q.new_empty(1, rows, heads, width), q.new_empty(heads, rows, dtype=torch.float32)
        _call(built.heedful_tree_forward, layout, scale, q=q, k=k, v=v, out=out, logsum=logsum)
        ctx.save_for_backward(q, k, v, out, logsum)
        ctx.built, ctx.layout, ctx.scale = built, layout, scale
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, logsum = ctx.saved_tensors
        dout = grads[0].transpose(1, 2)
        dout = dout if dout.stride(-1) == 1 else dout.contiguous()
        made = [x.new_empty(1, x.shape[2], x.shape[1], x.shape[3]) for x in (q, k, v)]
        dq, dk, dv = made
        given = {"q": q, "k": k, "v": v, "out": out, "logsum": logsum, "dout": dout}
        _call(ctx.built.heedful_tree_backward, ctx.layout, ctx.scale, **given, dq=dq, dk=dk, dv=dv)
        return None, *(x.transpose(1, 2) for x in made), None, None


def _call(entry: Any, layout: Layout, scale: float, **tensors: Tensor) -> None:
    starts, firsts = layout.bounds
    q, k = tensors["q"], tensors["k"]
    row = _Row(
        **{name: x.data_ptr() for name, x in tensors.items()},
        starts=starts.ctypes.data,
        firsts=firsts.ctypes.data,
        groups=len(layout.groups),
        rows=q.shape[2],
        heads=q.shape[1],
        kv_heads=k.shape[1],
        width=q.shape[3],
        threads=torch.get_num_threads(),
        scale=scale,
    )
    for name in tensors.keys() & {"q", "k", "v", "dout"}:
        _, head, line, _ = tensors[name].stride()
        setattr(row, f"{name}_head", head)
        setattr(row, f"{name}_row", line)
    entry(ctypes.byref(row))
