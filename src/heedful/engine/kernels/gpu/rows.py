"""Parts of a layer in one pass each: the names, arguments and numbers of kernels/fused.cpp, in Triton.

A row is computed by one program in one order, so that its bits do not depend on its neighbours. Sums over rows are made
of blocks of rows. Inside, all is fp32.
"""

from collections.abc import Callable
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

_PART = 4096


@triton.jit
def _read(at, inside):
    return tl.load(at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _norm_forward(x, w, y, inverse, width, eps, SHIFT: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    inside = i < width
    a = _read(x + row * width + i, inside)
    weight = _read(w + i, inside)
    r = 1.0 / tl.sqrt(tl.sum(a * a, 0) / width + eps)
    tl.store(inverse + row, r)
    if SHIFT:
        out = (1.0 + weight) * (a * r)
    else:
        out = weight * (a * r).to(y.dtype.element_ty).to(tl.float32)
    tl.store(y + row * width + i, out.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _norm_backward(
    dy, x, w, inverse, dx, dw, rows, width, SHIFT: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    block = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    inside = i < width
    weight = _read(w + i, inside) + SHIFT
    sums = tl.zeros((BLOCK,), tl.float32)
    for row in range(block * ROWS, tl.minimum((block + 1) * ROWS, rows)):
        a = _read(x + row * width + i, inside)
        along = _read(dy + row * width + i, inside)
        r = tl.load(inverse + row)
        back = tl.sum(along * weight * a, 0) / width * r * r * r
        sums += along * a * r
        tl.store(dx + row * width + i, (along * weight * r - a * back).to(dx.dtype.element_ty), mask=inside)
    tl.store(dw + block * width + i, sums, mask=inside)


@triton.jit
def _swiglu_forward(gate, up, y, width, gate_row, up_row, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < width
    a = _read(gate + row * gate_row + i, inside)
    silu = (a * tl.sigmoid(a)).to(y.dtype.element_ty).to(tl.float32)
    out = silu * _read(up + row * up_row + i, inside)
    tl.store(y + row * width + i, out.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _swiglu_backward(dy, gate, up, dgate, dup, width, gate_row, up_row, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < width
    a = _read(gate + row * gate_row + i, inside)
    d = _read(dy + row * width + i, inside)
    s = tl.sigmoid(a)
    of_gate = d * _read(up + row * up_row + i, inside) * (s * (1.0 + a * (1.0 - s)))
    tl.store(dup + row * width + i, (d * (a * s)).to(dup.dtype.element_ty), mask=inside)
    tl.store(dgate + row * width + i, of_gate.to(dgate.dtype.element_ty), mask=inside)


@triton.jit
def _rotary(x, cos, sin, out, heads, half, head_stride, row_stride, BACK: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    i = tl.arange(0, BLOCK)
    inside = i < half
    x += head * head_stride + row * row_stride
    out += (row * heads + head) * 2 * half
    cos += row * 2 * half
    sin += row * 2 * half
    a, b = _read(x + i, inside), _read(x + half + i, inside)
    c1, c2 = _read(cos + i, inside), _read(cos + half + i, inside)
    s1, s2 = _read(sin + i, inside), _read(sin + half + i, inside)
    if BACK:  # the transpose
        first, second = a * c1 + b * s2, b * c2 - a * s1
    else:
        first, second = a * c1 - b * s1, b * c2 + a * s2
    tl.store(out + i, first.to(out.dtype.element_ty), mask=inside)
    tl.store(out + half + i, second.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _head_forward(z, target, logsum, logp, entropy, width, ENTROPY: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    z += row * width
    top = -3.0e38
    total = 0.0
    along = 0.0  # the sum of e^(z - top) (z - top)
    for start in range(0, width, BLOCK):
        i = start + tl.arange(0, BLOCK)
        inside = i < width
        x = tl.load(z + i, mask=inside, other=-3.0e38).to(tl.float32)  # finite: 0 times it is 0
        higher = tl.maximum(top, tl.max(x, 0))
        kept = tl.exp(top - higher)
        e = tl.exp(x - higher)
        along = kept * (along + total * (top - higher)) + tl.sum(e * (x - higher), 0)
        total = kept * total + tl.sum(e, 0)
        top = higher
    lse = top + tl.log(total)
    aim = tl.load(target + row)
    there = (aim >= 0) & (aim < width)  # a word that does not exist makes the loss NaN, which `fit` refuses
    hit = tl.load(z + aim, mask=there, other=float("nan")).to(tl.float32)
    tl.store(logsum + row, lse)
    tl.store(logp + row, hit - lse)
    if ENTROPY:
        tl.store(entropy + row, tl.log(total) - along / total)


@triton.jit
def _head_backward(
    z, target, logsum, entropy, of_logp, of_entropy, width, ENTROPY: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < width
    z += row * width
    x = _read(z + i, inside) - tl.load(logsum + row)
    slope = tl.load(of_logp + row)
    weight = slope
    if ENTROPY:
        weight = slope + tl.load(of_entropy + row) * (x + tl.load(entropy + row))
    grad = tl.where(i == tl.load(target + row), slope, 0.0) - tl.exp(x) * weight
    tl.store(z + i, grad.to(z.dtype.element_ty), mask=inside)


def call(name: str, *arguments: Any) -> None:
    """Run the kernel of this name with the arguments that the compiled one of fused.cpp takes."""
    _LAUNCH[name](*arguments)


def _launch_norm_forward(
    x: Tensor, w: Tensor, y: Tensor, inverse: Tensor, rows: int, width: int, eps: float, shift: int
) -> None:
    if rows:
        _norm_forward[(rows,)](x, w, y, inverse, width, eps, SHIFT=shift, BLOCK=_power(width))


def _launch_norm_backward(
    dy: Tensor,
    x: Tensor,
    w: Tensor,
    inverse: Tensor,
    dx: Tensor,
    dw: Tensor,
    rows: int,
    width: int,
    shift: int,
    block: int,
) -> None:
    if rows:
        sizes = {"SHIFT": shift, "ROWS": block, "BLOCK": _power(width)}
        _norm_backward[(-(-rows // block),)](dy, x, w, inverse, dx, dw, rows, width, **sizes)


def _launch_swiglu_forward(
    gate: Tensor, up: Tensor, y: Tensor, rows: int, width: int, gate_row: int, up_row: int
) -> None:
    if rows:
        _swiglu_forward[_grid(rows, width)](gate, up, y, width, gate_row, up_row, BLOCK=_part(width))


def _launch_swiglu_backward(
    dy: Tensor,
    gate: Tensor,
    up: Tensor,
    dgate: Tensor,
    dup: Tensor,
    rows: int,
    width: int,
    gate_row: int,
    up_row: int,
) -> None:
    if rows:
        given = (dy, gate, up, dgate, dup, width, gate_row, up_row)
        _swiglu_backward[_grid(rows, width)](*given, BLOCK=_part(width))


def _launch_rotary(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    out: Tensor,
    rows: int,
    heads: int,
    width: int,
    head_stride: int,
    row_stride: int,
    back: int,
) -> None:
    if rows:
        half = width // 2
        given = (x, cos, sin, out, heads, half, head_stride, row_stride)
        _rotary[(rows, heads)](*given, BACK=back, BLOCK=_power(half))


def _launch_head_forward(
    z: Tensor, target: Tensor, logsum: Tensor, logp: Tensor, entropy: Tensor | None, rows: int, width: int
) -> None:
    if rows:
        into = logp if entropy is None else entropy
        sizes = {"ENTROPY": entropy is not None, "BLOCK": _part(width)}
        _head_forward[(rows,)](z, target, logsum, logp, into, width, **sizes)


def _launch_head_backward(
    z: Tensor,
    target: Tensor,
    logsum: Tensor,
    entropy: Tensor,
    of_logp: Tensor,
    of_entropy: Tensor | None,
    rows: int,
    width: int,
) -> None:
    if rows:
        given = (z, target, logsum, entropy, of_logp, of_logp if of_entropy is None else of_entropy, width)
        sizes = {"ENTROPY": of_entropy is not None, "BLOCK": _part(width)}
        _head_backward[_grid(rows, width)](*given, **sizes)


_LAUNCH: dict[str, Callable[..., None]] = {
    "norm_forward": _launch_norm_forward,
    "norm_backward": _launch_norm_backward,
    "swiglu_forward": _launch_swiglu_forward,
    "swiglu_backward": _launch_swiglu_backward,
    "rotary": _launch_rotary,
    "head_forward": _launch_head_forward,
    "head_backward": _launch_head_backward,
}


def _power(width: int) -> int:
    found: int = triton.next_power_of_2(width)
    return found


def _part(width: int) -> int:
    return min(_PART, _power(width))


def _grid(rows: int, width: int) -> tuple[int, int]:
    return rows, -(-width // _part(width))
