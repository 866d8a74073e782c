"""Attention over a whole packed row in Triton, forward and backward, without a mask of its size.

A token sees its own segment up to itself and, in a branch, its prompt (engine/layout.py). Programs walk over the blocks
of keys between their group's start and their last query and leave out those that none of them sees. Online softmax
(Dao et al. 2022, arXiv:2205.14135), sums in fp32; products in the row's own type.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from heedful.engine.layout import Layout

if TYPE_CHECKING:
    from heedful.engine.attention import Variant

_GROUP, _PROMPT_END, _OWN, _END, _POSITION = range(5)
WIDEST = 256


@triton.jit
def _seen(spans, tokens, i, j, window):
    """Whether token i [M] sees token j [N]; tokens beyond the row neither see nor are seen."""
    known = i < tokens
    own = tl.load(spans + 2 * tokens + i, mask=known, other=0)
    start = tl.load(spans + i, mask=known, other=0)
    prompt_end = tl.load(spans + tokens + i, mask=known, other=0)
    at = tl.load(spans + 4 * tokens + i, mask=known, other=0)
    key_at = tl.load(spans + 4 * tokens + j, mask=j < tokens, other=0)
    j = j[None, :]
    in_own = (j >= own[:, None]) & (j <= i[:, None])
    in_prompt = (j >= start[:, None]) & (j < prompt_end[:, None])
    near = (window == 0) | (at[:, None] - key_at[None, :] < window)
    return (in_own | in_prompt) & near & known[:, None] & (j < tokens)


@triton.jit
def _scores(q, k, scale, softcap, CAPPED: tl.constexpr):
    score = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
    if CAPPED:
        e = tl.exp(-2.0 * tl.abs(score) / softcap)
        t = softcap * (1.0 - e) / (1.0 + e)
        score = tl.where(score < 0, -t, t)
    return score


@triton.jit
def _rows(x, i, stride, tokens, d, width):
    """Rows i of x [tokens, width], zeros outside of it."""
    inside = (i < tokens)[:, None] & (d < width)[None, :]
    return tl.load(x + i[:, None].to(tl.int64) * stride + d[None, :], mask=inside, other=0.0)


@triton.jit
def _tree_forward(
    q, k, v, sinks, out, logsum, spans,
    tokens, heads, repeat, width, q_head, q_row, k_head, k_row, v_head, v_row, window, scale, softcap,
    CAPPED: tl.constexpr, SINKS: tl.constexpr, SIDE: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(0) * SIDE
    head = tl.program_id(1).to(tl.int64)
    i, d = first + tl.arange(0, SIDE), tl.arange(0, WIDTH)
    query = _rows(q + head * q_head, i, q_row, tokens, d, width)
    k += head // repeat * k_head
    v += head // repeat * v_head
    top = tl.full((SIDE,), -3.0e38, tl.float32)
    total = tl.zeros((SIDE,), tl.float32)
    gathered = tl.zeros((SIDE, WIDTH), tl.float32)
    for start in range(tl.load(spans + first) // SIDE * SIDE, tl.minimum(first + SIDE, tokens), SIDE):
        j = start + tl.arange(0, SIDE)
        seen = _seen(spans, tokens, i, j, window)
        if tl.max(tl.max(seen.to(tl.int32), 1), 0) > 0:
            score = _scores(query, _rows(k, j, k_row, tokens, d, width), scale, softcap, CAPPED)
            score = tl.where(seen, score, -3.0e38)
            higher = tl.maximum(top, tl.max(score, 1))
            kept = tl.exp(top - higher)
            p = tl.where(seen, tl.exp(score - higher[:, None]), 0.0)
            value = _rows(v, j, v_row, tokens, d, width)
            product = tl.dot(p.to(value.dtype), value, input_precision="ieee")
            gathered = gathered * kept[:, None] + product
            total = total * kept + tl.sum(p, 1)
            top = higher
    if SINKS:  # a key whose value is zero
        sink = tl.load(sinks + head)
        higher = tl.maximum(top, sink)
        kept = tl.exp(top - higher)
        total = total * kept + tl.exp(sink - higher)
        gathered = gathered * kept[:, None]
        top = higher
    known = i < tokens
    total = tl.where(known, total, 1.0)
    to = out + (i[:, None].to(tl.int64) * heads + head) * width + d[None, :]
    inside = known[:, None] & (d < width)[None, :]
    tl.store(to, (gathered / total[:, None]).to(out.dtype.element_ty), mask=inside)
    tl.store(logsum + head * tokens + i, top + tl.log(total), mask=known)


@triton.jit
def _slope(query, key, value, grad, lse, delta, seen, scale, softcap, CAPPED: tl.constexpr):
    """The weights, and the gradient of query times key."""
    score = _scores(query, key, scale, softcap, CAPPED)
    p = tl.where(seen, tl.exp(score - lse[:, None]), 0.0)
    slope = p * (tl.dot(grad, tl.trans(value), input_precision="ieee") - delta[:, None]) * scale
    if CAPPED:
        slope = slope * (1.0 - (score / softcap) * (score / softcap))
    return p, slope


@triton.jit
def _tree_backward_queries(
    q, k, v, grad, logsum, deltas, dq, spans,
    tokens, heads, repeat, width, q_head, q_row, k_head, k_row, v_head, v_row, window, scale, softcap,
    CAPPED: tl.constexpr, SIDE: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(0) * SIDE
    head = tl.program_id(1).to(tl.int64)
    i, d = first + tl.arange(0, SIDE), tl.arange(0, WIDTH)
    known = i < tokens
    query = _rows(q + head * q_head, i, q_row, tokens, d, width)
    along = _rows(grad + head * width, i, heads * width, tokens, d, width)
    lse = tl.load(logsum + head * tokens + i, mask=known, other=0.0)
    delta = tl.load(deltas + head * tokens + i, mask=known, other=0.0)
    k += head // repeat * k_head
    v += head // repeat * v_head
    found = tl.zeros((SIDE, WIDTH), tl.float32)
    for start in range(tl.load(spans + first) // SIDE * SIDE, tl.minimum(first + SIDE, tokens), SIDE):
        j = start + tl.arange(0, SIDE)
        seen = _seen(spans, tokens, i, j, window)
        if tl.max(tl.max(seen.to(tl.int32), 1), 0) > 0:
            key = _rows(k, j, k_row, tokens, d, width)
            value = _rows(v, j, v_row, tokens, d, width)
            _, slope = _slope(query, key, value, along, lse, delta, seen, scale, softcap, CAPPED)
            found += tl.dot(slope.to(key.dtype), key, input_precision="ieee")
    to = dq + (head * tokens + i[:, None]) * width + d[None, :]
    tl.store(to, found.to(dq.dtype.element_ty), mask=known[:, None] & (d < width)[None, :])


@triton.jit
def _tree_backward_keys(
    q, k, v, grad, logsum, deltas, dk, dv, spans,
    tokens, heads, repeat, width, q_head, q_row, k_head, k_row, v_head, v_row, window, scale, softcap,
    CAPPED: tl.constexpr, SIDE: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    first = tl.program_id(0) * SIDE
    kv_head = tl.program_id(1).to(tl.int64)
    j, d = first + tl.arange(0, SIDE), tl.arange(0, WIDTH)
    key = _rows(k + kv_head * k_head, j, k_row, tokens, d, width)
    value = _rows(v + kv_head * v_head, j, v_row, tokens, d, width)
    of_key = tl.zeros((SIDE, WIDTH), tl.float32)
    of_value = tl.zeros((SIDE, WIDTH), tl.float32)
    end = tl.load(
        spans + 3 * tokens + tl.minimum(first + SIDE, tokens) - 1
    )  # where the last key's group ends
    for head in range(kv_head * repeat, (kv_head + 1) * repeat):
        for start in range(first, end, SIDE):
            i = start + tl.arange(0, SIDE)
            seen = _seen(spans, tokens, i, j, window)
            if tl.max(tl.max(seen.to(tl.int32), 1), 0) > 0:
                known = i < tokens
                query = _rows(q + head * q_head, i, q_row, tokens, d, width)
                along = _rows(grad + head * width, i, heads * width, tokens, d, width)
                lse = tl.load(logsum + head * tokens + i, mask=known, other=0.0)
                delta = tl.load(deltas + head * tokens + i, mask=known, other=0.0)
                p, slope = _slope(query, key, value, along, lse, delta, seen, scale, softcap, CAPPED)
                of_value += tl.dot(tl.trans(p).to(along.dtype), along, input_precision="ieee")
                of_key += tl.dot(tl.trans(slope).to(query.dtype), query, input_precision="ieee")
    inside = (j < tokens)[:, None] & (d < width)[None, :]
    to = (kv_head * tokens + j[:, None]) * width + d[None, :]
    tl.store(dk + to, of_key.to(dk.dtype.element_ty), mask=inside)
    tl.store(dv + to, of_value.to(dv.dtype.element_ty), mask=inside)


def takes(q: Tensor) -> bool:
    """Whether queries of this type and width are the kernel's."""
    return q.dtype in (torch.float32, torch.bfloat16) and len(q) == 1 and q.shape[-1] <= WIDEST


def spans(layout: Layout) -> Tensor:
    """For each token [5, T], int32: start of its group, end of the prompt that it continues (or that start), start of
    its segment, end of its group, position.
    """
    table = np.empty((5, layout.total), dtype=np.int32)
    for group in layout.groups:
        start, own_end = group.prompt
        end = group.branches[-1][1] if group.branches else own_end
        table[[_GROUP, _PROMPT_END, _OWN], start:own_end] = start
        table[_GROUP, own_end:end], table[_PROMPT_END, own_end:end] = start, own_end
        for branch in group.branches:
            table[_OWN, slice(*branch)] = branch[0]
        table[_END, start:end] = end
    table[_POSITION] = layout.positions.numpy()
    return torch.from_numpy(table)


def tree_attention(q: Tensor, k: Tensor, v: Tensor, where: Tensor, variant: "Variant") -> Tensor:
    """Attention of q [1,H,T,D] over k and v [1,Hkv,T,D] as [1,T,H,D]; `where` are the layout's `spans`."""
    result: Tensor = _Tree.apply(q, k, v, variant.sinks, where, variant)
    return result


class _Tree(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None, where: Tensor, variant: "Variant"
    ) -> Tensor:
        q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
        _, heads, tokens, width = q.shape
        out = q.new_empty(1, tokens, heads, width)
        logsum = q.new_empty(heads, tokens, dtype=torch.float32)
        own = q if sinks is None else sinks.detach().float().contiguous()
        numbers, sizes = _given(q, k, v, variant)
        grid = (triton.cdiv(tokens, sizes["SIDE"]), heads)
        _tree_forward[grid](q, k, v, own, out, logsum, where, *numbers, SINKS=sinks is not None, **sizes)
        ctx.save_for_backward(q, k, v, sinks, out, logsum, where)
        ctx.variant = variant
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, sinks, out, logsum, where = ctx.saved_tensors
        grad = grads[0].contiguous()
        delta = (grad.float() * out.float()).sum(-1)[0].t().contiguous()  # [H, T]
        dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
        numbers, sizes = _given(q, k, v, ctx.variant)
        blocks = triton.cdiv(q.shape[2], sizes["SIDE"])
        given = (q, k, v, grad, logsum, delta)
        _tree_backward_queries[(blocks, q.shape[1])](*given, dq, where, *numbers, **sizes)
        _tree_backward_keys[(blocks, k.shape[1])](*given, dk, dv, where, *numbers, **sizes)
        of_sinks = None
        if sinks is not None:
            of_sinks = -((sinks.float()[:, None] - logsum).exp() * delta).sum(1).to(sinks.dtype)
        return dq, dk, dv, of_sinks, None, None


def _given(q: Tensor, k: Tensor, v: Tensor, variant: "Variant") -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The numbers that all three kernels take, and their compile-time sizes."""
    _, heads, tokens, width = q.shape
    shape = (tokens, heads, heads // k.shape[1], width)
    strides = (*q.stride()[1:3], *k.stride()[1:3], *v.stride()[1:3])
    numbers = (*shape, *strides, variant.window or 0, variant.scale, variant.softcap or 0.0)
    sizes = {"CAPPED": variant.softcap is not None, "SIDE": _side(q), "WIDTH": _power(width)}
    return numbers, sizes


def _side(q: Tensor) -> int:
    """Rows of a block: two blocks of keys and values have to fit into what a multiprocessor has."""
    return 64 if _power(q.shape[-1]) * q.element_size() <= 256 else 32


def _power(width: int) -> int:
    return max(16, int(triton.next_power_of_2(width)))
