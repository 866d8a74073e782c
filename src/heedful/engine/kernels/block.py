"""Weights in bf16 laid out for decoding, and a decoding step of Llama-like layers in one compiled call (block.cpp)."""

import ctypes
from collections.abc import Callable, Sequence
from ctypes import c_float, c_int64, c_void_p
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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


class _Place(ctypes.Structure):
    """`Place` of block.cpp, field for field."""

    _fields_ = (
        *((name, c_void_p) for name in ("prompt_k", "prompt_v", "answer_k", "answer_v", "sinks")),
        ("window", c_int64),
        ("scale", c_float),
        ("softcap", c_float),
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
        self._held = weights, before, between
        self.told = _Block(
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


class Blocks:
    """Layers with as many heads of the same width, one after another."""

    def __init__(self, built: ctypes.CDLL, blocks: Sequence[Block], variants: Sequence["Variant"]) -> None:
        """`variants`: how each layer attends."""
        self._entry, self._blocks = _entry(built, "blocks"), tuple(blocks)
        self._told = (_Block * len(blocks))(*(block.told for block in blocks))
        self._variants = variants
        self._sinks = [None if v.sinks is None else v.sinks.detach().float().contiguous() for v in variants]

    def step(
        self,
        kernel: DecodeKernel,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        stored: Callable[[int, Tensor], Stored],
    ) -> Tensor:
        """What the layers make of x [1, B, hidden]; turn: cos and sin [1, B, D].

        `stored` gives the keys and values of prompts and answers (`engine.decode.Cache`) of the n-th of these layers,
        for keys like its second argument.
        """
        x, cos, sin = (t.contiguous() for t in (x, *turn))
        rows, first = x.shape[1], self._blocks[0]
        made = x.new_empty(1, rows, first.heads + 2 * first.kv_heads, first.width)
        parts = torch.split(made, [first.heads, first.kv_heads, first.kv_heads], 2)
        q, k, v = (part.transpose(1, 2) for part in parts)
        out, y = x.new_empty(1, rows, first.heads, first.width), torch.empty_like(x)
        held = [stored(number, k) for number in range(len(self._blocks))]
        places = (_Place * len(held))(*map(_place, held, self._sinks, self._variants))
        told = kernel.told((q, k, v), out, *held[0], self._variants[0])
        pointers = [t.data_ptr() for t in (x, cos, sin, y, made)]
        if self._entry(self._told, places, len(held), *pointers, ctypes.addressof(told)):
            raise IndexError(OUTSIDE)
        return y


def _place(stored: Stored, sinks: Tensor | None, variant: "Variant") -> _Place:
    (prompt_k, prompt_v), (answer_k, answer_v) = stored
    return _Place(
        prompt_k.data_ptr(),
        prompt_v.data_ptr(),
        answer_k.data_ptr(),
        answer_v.data_ptr(),
        None if sinks is None else sinks.data_ptr(),
        variant.window or 0,
        variant.scale,
        variant.softcap or 0.0,
    )


_ARGUMENTS = {
    "pack": (c_void_p, c_int64, c_int64, c_void_p, c_int64),
    "linear": (*(c_void_p,) * 3, *(c_int64,) * 2),
    "blocks": (c_void_p, c_void_p, c_int64, *(c_void_p,) * 6),
}


def _entry(built: ctypes.CDLL, name: str) -> Any:
    entry = getattr(built, f"heedful_{name}")
    if entry.argtypes is None:
        entry.argtypes = _ARGUMENTS[name]
    return entry


def takes(*tensors: Tensor) -> bool:
    """Whether these tensors, all of them plain ones on the CPU, are the kernels'."""
    return tensors[0].dtype == torch.bfloat16 and fused.takes(*tensors)
