"""RMSNorm, rotary embedding and SwiGLU in one pass each (fused.cpp, gpu/rows.py), with their torch twins.

In fp32 they differ from torch by the order of sums and the last bits of exp; in bf16 they compute in fp32 and round
where a layer of transformers rounds, or less often.
"""

import ctypes
from ctypes import c_float, c_int64, c_void_p
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from heedful.engine.kernels.choice import Built

NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
WIDEST = 2**16
"""Elements of a row that Triton's kernels hold at once."""
_BLOCK = 64
"""Rows whose gradients of a norm's weight are summed at a time."""

_ARGUMENTS = {
    "norm_forward": (*(c_void_p,) * 4, c_int64, c_int64, c_float, c_int64, c_int64),
    "norm_backward": (*(c_void_p,) * 6, *(c_int64,) * 5),
    "swiglu_forward": (*(c_void_p,) * 3, *(c_int64,) * 5),
    "swiglu_backward": (*(c_void_p,) * 5, *(c_int64,) * 5),
    "rotary": (*(c_void_p,) * 4, *(c_int64,) * 7),
    "head_forward": (*(c_void_p,) * 5, *(c_int64,) * 3),
    "head_backward": (*(c_void_p,) * 6, *(c_int64,) * 3),
}


def takes(*tensors: Tensor) -> bool:
    """Whether these tensors, all of one type and on one device, are the kernels'; sharded and quantised are not."""
    first = tensors[0]
    if first.dtype not in NAMES or any(type(x) not in (Tensor, nn.Parameter) for x in tensors):
        return False
    return all(x.dtype == first.dtype and x.device == first.device for x in tensors)


def call(built: "Built", name: str, dtype: torch.dtype, *arguments: Any) -> None:
    """Call a kernel of either kind.

    The caller holds every tensor until this returns, and has made sure of their types, shapes and strides.
    """
    if not isinstance(built, ctypes.CDLL):
        built.call(name, *arguments)
        return
    entry = getattr(built, f"heedful_{name}_{NAMES[dtype]}")
    if entry.argtypes is None:
        entry.argtypes, entry.restype = _ARGUMENTS[name], None
    entry(*(x.data_ptr() if isinstance(x, Tensor) else x for x in arguments), torch.get_num_threads())


def rms_norm(built: "Built", x: Tensor, weight: Tensor, eps: float, shift: int) -> Tensor:
    """The norm of x [..., D] by weight [D]; the formulas are `rms_norm_twin`'s."""
    result: Tensor = _Norm.apply(built, x, weight, eps, shift)  # type: ignore[no-untyped-call]
    return result


def rms_norm_twin(x: Tensor, weight: Tensor, eps: float, shift: int) -> Tensor:
    """w x / sqrt(mean x^2 + eps) (Zhang and Sennrich 2019, arXiv:1910.07467), or with shift 1 (1 + w) in place of w."""
    wide = x.float()
    normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    if shift:
        return (normed * (1.0 + weight.float())).to(x.dtype)
    return weight * normed.to(x.dtype)


def swiglu(built: "Built", gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) up, both [..., D] (Shazeer 2020, arXiv:2002.05202)."""
    result: Tensor = _Swiglu.apply(built, gate, up)  # type: ignore[no-untyped-call]
    return result


def swiglu_twin(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate) * up


def rotary(built: "Built", x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [1,H,T,D] rotated by cos and sin [1,T,D] (Su et al. 2021, arXiv:2104.09864), halves as in Llama."""
    result: Tensor = _Rotary.apply(built, x, cos, sin)  # type: ignore[no-untyped-call]
    return result


def rotary_twin(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos[:, None] + torch.cat([-second, first], -1) * sin[:, None]


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, built: "Built", x: Tensor, weight: Tensor, eps: float, shift: int) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        rows, width = x.numel() // x.shape[-1], x.shape[-1]
        y, inverse = torch.empty_like(x), x.new_empty(rows, dtype=torch.float32)
        call(built, "norm_forward", x.dtype, x, weight, y, inverse, rows, width, eps, shift)
        ctx.save_for_backward(x, weight, inverse)
        ctx.built, ctx.shift = built, shift
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, inverse = ctx.saved_tensors
        dy = grads[0].contiguous()
        rows, width = x.numel() // x.shape[-1], x.shape[-1]
        dx = torch.empty_like(x)
        dw = x.new_empty(-(-rows // _BLOCK), width, dtype=torch.float32)
        call(
            ctx.built,
            "norm_backward",
            x.dtype,
            dy,
            x,
            weight,
            inverse,
            dx,
            dw,
            rows,
            width,
            ctx.shift,
            _BLOCK,
        )
        return None, dx, dw.sum(0).to(weight.dtype), None, None


class _Swiglu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, built: "Built", gate: Tensor, up: Tensor) -> Tensor:
        gate, up = _dense_rows(gate), _dense_rows(up)
        y = gate.new_empty(gate.shape)
        call(built, "swiglu_forward", gate.dtype, gate, up, y, *_rows(gate, up))
        ctx.save_for_backward(gate, up)
        ctx.built = built
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        dy = grads[0].contiguous()
        to_gate, to_up = dy.new_empty(dy.shape), dy.new_empty(dy.shape)
        call(ctx.built, "swiglu_backward", dy.dtype, dy, gate, up, to_gate, to_up, *_rows(gate, up))
        return None, to_gate, to_up


def _dense_rows(x: Tensor) -> Tensor:
    """`x` if one stride leads from each row to the next, as in a part of a wider product; else a copy."""
    strides = x.stride()
    regular = all(strides[i] == strides[i + 1] * x.shape[i + 1] for i in range(x.dim() - 2))
    return x if strides[-1] == 1 and regular else x.contiguous()


def _rows(gate: Tensor, up: Tensor) -> tuple[int, int, int, int]:
    width = gate.shape[-1]
    apart = [x.stride(-2) if x.dim() > 1 else width for x in (gate, up)]
    return gate.numel() // width, width, apart[0], apart[1]


class _Rotary(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, built: "Built", x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        cos, sin = cos.contiguous(), sin.contiguous()
        ctx.save_for_backward(cos, sin)
        ctx.built = built
        return _rotated(built, x, cos, sin, back=0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return None, _rotated(ctx.built, grads[0], cos, sin, back=1), None, None


def _rotated(built: "Built", x: Tensor, cos: Tensor, sin: Tensor, back: int) -> Tensor:
    x = x if x.stride(-1) == 1 else x.contiguous()
    _, heads, rows, width = x.shape
    out = x.new_empty(1, rows, heads, width)
    _, head, row, _ = x.stride()
    call(built, "rotary", x.dtype, x, cos, sin, out, rows, heads, width, head, row, back)
    return out.transpose(1, 2)
