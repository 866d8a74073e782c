"""Weights in bf16 laid out for decoding, and a Llama-like layer's decoding step in one compiled call (block.cpp)."""

import ctypes
from collections.abc import Callable, Sequence
from ctypes import c_float, c_int64, c_void_p
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from heedful.engine.kernels import fused
from heedful.engine.kernels.decode import OUTSIDE, DecodeKernel

if TYPE_CHECKING:
    from heedful.engine.attention import Variant

Stored = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
_PANEL, _DEEP = 16, 32
"""Columns and depth are filled up to multiples of these."""


class Matrix(ctypes.Structure):
    """`Matrix` of block.cpp, field for field."""

    _fields_ = (("packed", c_void_p), ("bias", c_void_p), ("deep", c_int64), ("out", c_int64))


class _Block(ctypes.Structure):
    """`Block` of block.cpp, field for field."""

    _fields_ = (
        *((name, Matrix) for name in ("qkv", "attended", "gate_up", "down")),
        *((name, c_void_p) for name in ("norm_before", "norm_between")),
        *((name, c_int64) for name in ("hidden", "heads", "kv_heads", "width", "mlp")),
        *((name, c_float) for name in ("eps_before", "eps_between")),
    )


@dataclass(frozen=True)
class Weights:
    """A matrix in the kernels' layout, and the tensors that it points into."""

    matrix: Matrix
    held: tuple[Tensor, ...]


def packed(built: ctypes.CDLL, layers: Sequence[nn.Linear]) -> Weights:
    """The weights [out, in] of linear layers that read the same states, as those of one."""
    weight = torch.cat([layer.weight.detach() for layer in layers])
    out, deep = weight.shape
    room = -(-out // _PANEL) * _PANEL * (-(-deep // _DEEP) * _DEEP)
    held = [weight.new_empty(room)]
    pack = _entry(built, "pack")
    pack(weight.data_ptr(), deep, out, held[0].data_ptr(), torch.get_num_threads())
    if any(layer.bias is not None for layer in layers):
        parts: list[Tensor] = [
            layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias
            for layer in layers
        ]
        held.append(torch.cat(parts).detach().float())
    bias = held[1].data_ptr() if held[1:] else None
    return Weights(Matrix(held[0].data_ptr(), bias, deep, out), tuple(held))


def linear(built: ctypes.CDLL, weights: Weights, x: Tensor) -> Tensor:
    """x [..., in] times the weights: [..., out]. There is no gradient."""
    x = x.contiguous()
    y = x.new_empty(*x.shape[:-1], weights.matrix.out)
    rows = x.numel() // x.shape[-1]
    times = _entry(built, "linear")
    times(ctypes.byref(weights.matrix), x.data_ptr(), y.data_ptr(), rows, torch.get_num_threads())
    return y


@dataclass(frozen=True)
class Norm:
    """The weight [hidden] of an RMSNorm, and what is added to the mean square."""

    weight: Tensor
    eps: float


class Block:
    """One layer: norm, attention, norm, gated MLP, each half added to what it read."""

    def __init__(
        self,
        built: ctypes.CDLL,
        *,
        norms: tuple[Norm, Norm],
        attention: tuple[Sequence[nn.Linear], nn.Linear],
        mlp: tuple[Sequence[nn.Linear], nn.Linear],
        width: int,
    ) -> None:
        """`attention` and `mlp`: the layers that read the states, and the one that writes; `width` of a head."""
        weights = [packed(built, x if isinstance(x, Sequence) else [x]) for x in (*attention, *mlp)]
        before, between = (Norm(n.weight.detach().contiguous(), n.eps) for n in norms)
        (query, key, _), (gate, _) = attention[0], mlp[0]
        self.width, self.heads, self.kv_heads = width, len(query.weight) // width, len(key.weight) // width
        self._built, self._held = built, (weights, before, between)
        self._block = _Block(
            *(w.matrix for w in weights),
            before.weight.data_ptr(),
            between.weight.data_ptr(),
            query.weight.shape[1],
            self.heads,
            self.kv_heads,
            width,
            len(gate.weight),
            before.eps,
            between.eps,
        )

    def step(
        self,
        kernel: DecodeKernel,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        stored: Callable[[Tensor], Stored],
        variant: "Variant",
    ) -> Tensor:
        """The layer's output for x [1, B, hidden]; turn: cos and sin [1, B, D].

        `stored` gives the keys and values of prompts and answers (`engine.decode.Cache`) for keys like its argument.
        """
        x, cos, sin = (t.contiguous() for t in (x, *turn))
        y, space = torch.empty_like(x), self._space(kernel, x)
        told = kernel.told(space.qkv, space.out, *stored(space.qkv[1]), variant)
        pointers = [t.data_ptr() for t in (x, cos, sin, y, space.made)]
        if _entry(self._built, "block")(ctypes.byref(self._block), *pointers, ctypes.addressof(told)):
            raise IndexError(OUTSIDE)
        return y

    def _space(self, kernel: DecodeKernel, x: Tensor) -> "Space":
        """Room for what a layer makes of x on its way, which the layers of a step share."""
        shape = (1, x.shape[1], self.heads, self.width)
        space = _spaces.get(kernel)
        if space is None or space.out.shape != shape or space.qkv[1].shape[1] != self.kv_heads:
            made = x.new_empty(1, x.shape[1], self.heads + 2 * self.kv_heads, self.width)
            parts = torch.split(made, [self.heads, self.kv_heads, self.kv_heads], 2)
            q, k, v = (part.transpose(1, 2) for part in parts)
            space = _spaces[kernel] = Space(made, (q, k, v), x.new_empty(shape))
        return space


@dataclass(frozen=True)
class Space:
    """Queries, keys and values of a step as parts of one tensor, and what attention gathers."""

    made: Tensor
    qkv: tuple[Tensor, Tensor, Tensor]
    out: Tensor


_spaces: WeakKeyDictionary[DecodeKernel, Space] = WeakKeyDictionary()
_ARGUMENTS = {
    "pack": (c_void_p, c_int64, c_int64, c_void_p, c_int64),
    "linear": (*(c_void_p,) * 3, *(c_int64,) * 2),
    "block": (c_void_p,) * 7,
}


def _entry(built: ctypes.CDLL, name: str) -> Any:
    entry = getattr(built, f"heedful_{name}")
    if entry.argtypes is None:
        entry.argtypes = _ARGUMENTS[name]
    return entry


def takes(*tensors: Tensor) -> bool:
    """Whether these tensors, all of them plain ones on the CPU, are the kernels'."""
    return tensors[0].dtype == torch.bfloat16 and fused.takes(*tensors)
