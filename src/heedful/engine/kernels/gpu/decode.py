"""One decoding step's attention over static slots in Triton: the arguments and numbers of kernels/decode.py.

A program computes the queries that share one key/value head of one row; online softmax in fp32. Nothing waits for the
host, so that a step can be recorded as a CUDA graph. A row in slot -1 is none: it reads and writes nothing.
"""

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

if TYPE_CHECKING:
    from heedful.engine.attention import Variant

_KEYS = 32


@triton.jit
def _see(query, gathered, top, total, k, v, first, end, t, width, d, softcap, CAPPED: tl.constexpr):
    """Let queries see keys t of a segment, of which those in [first, end) are seen."""
    seen = (t >= first) & (t < end)
    inside = seen[:, None] & (d < width)[None, :]
    keys = tl.load(k + t[:, None] * width + d[None, :], mask=inside, other=0.0).to(tl.float32)
    score = tl.dot(query, tl.trans(keys), input_precision="ieee")
    if CAPPED:
        score = _capped(score, softcap)
    score = tl.where(seen[None, :], score, float("-inf"))
    higher = tl.maximum(top, tl.max(score, 1))
    kept = tl.exp(top - higher)
    e = tl.exp(score - higher[:, None])
    values = tl.load(v + t[:, None] * width + d[None, :], mask=inside, other=0.0).to(tl.float32)
    gathered = gathered * kept[:, None] + tl.dot(e, values, input_precision="ieee")
    return gathered, higher, total * kept + tl.sum(e, 1)


@triton.jit
def _capped(score, softcap):
    e = tl.exp(-2.0 * tl.abs(score) / softcap)
    t = softcap * (1.0 - e) / (1.0 + e)
    return tl.where(score < 0, -t, t)


@triton.jit
def _decode(
    q,
    k,
    v,
    out,
    prompt_k,
    prompt_v,
    answer_k,
    answer_v,
    slots,
    samples,
    writtens,
    prompt_lengths,
    sinks,
    kv_heads,
    repeat,
    width,
    prompt_room,
    sample_count,
    answer_room,
    q_head,
    q_row,
    k_head,
    k_row,
    v_head,
    v_row,
    window,
    scale,
    softcap,
    CAPPED: tl.constexpr,
    SINKS: tl.constexpr,
    QUERIES: tl.constexpr,
    WIDTH: tl.constexpr,
    KEYS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    slot = tl.load(slots + row)
    i, d, t = tl.arange(0, QUERIES), tl.arange(0, WIDTH), tl.arange(0, KEYS)
    mine = (i < repeat)[:, None] & (d < width)[None, :]
    to = out + (row * kv_heads * repeat + head * repeat + i[:, None]) * width + d[None, :]
    if slot < 0:
        tl.store(to, tl.zeros((QUERIES, WIDTH), out.dtype.element_ty), mask=mine)
    else:
        written = tl.load(writtens + row)
        prompt = tl.load(prompt_lengths + slot)
        at = q + (head * repeat + i[:, None]) * q_head + row * q_row + d[None, :]
        query = tl.load(at, mask=mine, other=0.0).to(tl.float32) * scale
        # The new key is seen first, from where it was computed, and stored for the steps that follow.
        key = tl.load(k + head * k_head + row * k_row + d, mask=d < width, other=0.0)
        value = tl.load(v + head * v_head + row * v_row + d, mask=d < width, other=0.0)
        own = ((slot * kv_heads + head) * sample_count + tl.load(samples + row)) * answer_room * width
        tl.store(answer_k + own + written * width + d, key, mask=d < width)
        tl.store(answer_v + own + written * width + d, value, mask=d < width)
        top = tl.sum(query * key.to(tl.float32)[None, :], 1)
        if CAPPED:
            top = _capped(top, softcap)
        total = tl.full((QUERIES,), 1.0, tl.float32)
        gathered = tl.zeros((QUERIES, WIDTH), tl.float32) + value.to(tl.float32)[None, :]
        first = tl.where(window > 0, tl.maximum(prompt + written + 1 - window, 0), 0)
        shared = (slot * kv_heads + head) * prompt_room * width
        for start in range(first // KEYS * KEYS, prompt, KEYS):
            gathered, top, total = _see(
                query, gathered, top, total, prompt_k + shared, prompt_v + shared,
                first, prompt, start + t, width, d, softcap, CAPPED,
            )  # fmt: skip
        first = tl.maximum(first - prompt, 0)
        for start in range(first // KEYS * KEYS, written, KEYS):
            gathered, top, total = _see(
                query, gathered, top, total, answer_k + own, answer_v + own,
                first, written, start + t, width, d, softcap, CAPPED,
            )  # fmt: skip
        if SINKS:  # a key whose value is zero
            sink = tl.load(sinks + head * repeat + i, mask=i < repeat, other=float("-inf"))
            higher = tl.maximum(top, sink)
            kept = tl.exp(top - higher)
            total = total * kept + tl.exp(sink - higher)
            gathered = gathered * kept[:, None]
        tl.store(to, (gathered / total[:, None]).to(out.dtype.element_ty), mask=mine)


class TritonDecode:
    """One step of decoding: which sample of which slot each row is; then `attend`, layer by layer.

    slot, sample, written [B] and prompt_length [slots] as in `engine.decode.DecodeRows`, on the device.
    """

    def __init__(self, slot: Tensor, sample: Tensor, written: Tensor, prompt_length: Tensor) -> None:
        self._rows = tuple(x.contiguous() for x in (slot, sample, written, prompt_length))

    @staticmethod
    def takes(q: Tensor, stored: Tensor) -> bool:
        """Whether queries and stored keys of these types are the kernel's."""
        return q.dtype in (torch.float32, torch.bfloat16) and q.dtype == stored.dtype

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        prompt: tuple[Tensor, Tensor],
        answer: tuple[Tensor, Tensor],
        variant: "Variant",
    ) -> Tensor:
        """Store k and v [1,Hkv,B,D] in `answer` and return the attention of q [1,H,B,D] as [1,B,H,D].

        prompt: keys and values [slots,Hkv,P,D]; answer: [slots,Hkv,n,T,D]. There is no gradient. That every row lies
        inside of them is the caller's promise.
        """
        q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
        _, heads, rows, width = q.shape
        out = q.new_empty(1, rows, heads, width)
        _, kv_heads, samples, answer_room, _ = answer[0].shape
        sinks = None if variant.sinks is None else variant.sinks.detach().float().contiguous()
        strides = (*q.stride()[1:3], *k.stride()[1:3], *v.stride()[1:3])
        repeat = heads // kv_heads
        sizes = (kv_heads, repeat, width, prompt[0].shape[2], samples, answer_room)
        _decode[(rows, kv_heads)](
            *(q, k, v, out, *prompt, *answer, *self._rows),
            q if sinks is None else sinks,
            *(*sizes, *strides, variant.window or 0, variant.scale, variant.softcap or 0.0),
            CAPPED=variant.softcap is not None,
            SINKS=sinks is not None,
            QUERIES=max(16, triton.next_power_of_2(repeat)),
            WIDTH=max(16, triton.next_power_of_2(width)),
            KEYS=_KEYS,
        )
        return out
