"""Attention over packed rows, plugged into transformers' attention interface: no model is edited.

On a CPU each segment is one call of torch's flash kernel, all inside one autograd node. A prompt's branches
attend to it in a single call and the two softmaxes are merged by log-sum-exp; the backward calls each part's
kernel with the merged output and log-sum-exp, which is the exact partial gradient. In bf16 on a processor with matrix
tiles it is one compiled call (kernels/tree.py), on CUDA one kernel of Triton's (kernels/gpu/tree.py). Elsewhere, and
for the variants that the flash kernel lacks (soft-capping, sinks, a window shorter than the row), a mask is used.
"""

from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface

from heedful.engine.kernels import tree
from heedful.engine.kernels.choice import tree_attention
from heedful.engine.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

NAME = "heedful"
KEYWORD = "heedful_rows"

_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_flash_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

# The kernel's backward is slower in bf16 than in fp32 (its forward is not): without matrix tiles always, and with them
# for short segments, since it has a fixed cost of about 1 ms a call. They meet at about 700 rows of width 48, 500 of
# width 64 and 220 of width 128 (docs/performance.md).
_BF16_PAYS_FROM = 2**15 if torch.cpu._is_amx_tile_supported() else None
"""Rows times width of a segment."""


class Rows(Protocol):
    """What a row of tokens means; `attend` gets q [1,H,T,D] and k, v [1,Hkv,T,D] and returns [1,T,H,D]."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, variant: "Variant") -> Tensor: ...


class Variant:
    """The parts of an attention layer that differ between architectures."""

    __slots__ = ("scale", "sinks", "softcap", "window")

    def __init__(
        self,
        scale: float,
        window: int | None = None,
        softcap: float | None = None,
        sinks: Tensor | None = None,
    ) -> None:
        self.scale, self.window, self.softcap, self.sinks = scale, window, softcap, sinks


# Some architectures drop unknown keyword arguments on the way to the attention; then this carries the rows.
_current: ContextVar[Rows | None] = ContextVar("heedful_rows", default=None)


@contextmanager
def using(rows: Rows) -> "Iterator[dict[str, Any]]":
    """Set the rows for the model calls inside, and yield the keyword arguments to pass to them."""
    token = _current.set(rows)
    try:
        yield {KEYWORD: rows}
    finally:
        _current.reset(token)


def current_rows() -> Rows | None:
    """The rows of the model call that is under way."""
    return _current.get()


def remembered() -> "AbstractContextManager[Any]":
    """A context that sets the rows of now again: later, or in another thread, as a recomputation needs it."""
    rows = current_rows()
    return nullcontext() if rows is None else using(rows)


def heedful_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The function that transformers calls in every attention layer."""
    rows = kwargs.get(KEYWORD) or _current.get()
    if rows is None:
        raise RuntimeError("a model with packed attention was called without its rows: use engine.forward")
    if dropout:
        raise RuntimeError("packed attention has no dropout: set the model's attention_dropout to 0")
    if query.dtype != value.dtype:  # autocast: the rotary embedding promotes q and k, v stays
        query, key = query.to(value.dtype), key.to(value.dtype)
    wide, narrow = query.shape[-1], value.shape[-1]
    if narrow < wide:
        value = F.pad(value, (0, wide - narrow))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    variant = Variant(scale, sliding_window, softcap, s_aux)
    out = rows.attend(int(getattr(module, "layer_idx", 0) or 0), query, key, value, variant)
    return out[..., :narrow], None


AttentionInterface.register(NAME, heedful_attention)


_NOT_AT_ALL = 1e4  # nats: e^-10000 is 0 in every dtype


class TreeRows:
    """A packed row that is computed whole: training, scoring, prefill. Nothing attends to tokens in `unseen` [T]."""

    def __init__(self, layout: Layout, unseen: Tensor | None = None) -> None:
        self.layout, self.unseen = layout, unseen
        self._masks: dict[int | None, Tensor] = {}
        self._spans: Tensor | None = None

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, variant: Variant) -> Tensor:
        window = variant.window if variant.window and self.layout.longest > variant.window else None
        plain = window is None and variant.softcap is None and variant.sinks is None
        if plain and self.unseen is None and (built := tree.kernel_for(q, k, v, self.layout)) is not None:
            return tree.attend(built, q, k, v, self.layout, variant.scale)
        if plain and q.device.type == "cpu":
            width = q.shape[-1]
            if self.unseen is not None:
                q, k, v = _blind(q, k, v, self.unseen, _NOT_AT_ALL / variant.scale)
            out: Tensor = _TreeAttention.apply(q, k, v, self.layout, variant.scale)  # type: ignore[no-untyped-call]
            return out.transpose(1, 2)[..., :width]
        if self.unseen is None and (on_cuda := tree_attention(q)) is not None:
            if self._spans is None:
                self._spans = on_cuda.spans(self.layout).to(q.device)
            found: Tensor = on_cuda.tree_attention(q, k, v, self._spans, variant)
            return found
        if window not in self._masks:
            mask = self.layout.mask(window).to(q.device)
            self._masks[window] = mask if self.unseen is None else mask & ~self.unseen
        return masked_attention(q, k, v, self._masks[window], variant).transpose(1, 2)


class MaskedRows(TreeRows):
    """The same by plain matrix products under a mask: what forward-mode differentiation can follow."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, variant: Variant) -> Tensor:
        window = variant.window if variant.window and self.layout.longest > variant.window else None
        mask = self.layout.mask(window).to(q.device)
        return masked_attention(q, k, v, mask, variant).transpose(1, 2)


def masked_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, variant: Variant) -> Tensor:
    """Attention [B,H,T,D] under a bool mask that broadcasts to [B,H,T,S]; the reference for every fast path."""
    repeat = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(repeat, 1), v.repeat_interleave(repeat, 1)
    scores = (q @ k.transpose(-1, -2)).float() * variant.scale
    if variant.softcap is not None:
        scores = variant.softcap * torch.tanh(scores / variant.softcap)
    scores = scores.masked_fill(~mask, float("-inf"))
    if variant.sinks is not None:
        sinks = variant.sinks.float().view(1, -1, 1, 1).expand(scores.shape[0], -1, scores.shape[2], 1)
        weights = torch.cat([scores, sinks], -1).softmax(-1)[..., :-1]
    else:
        weights = scores.softmax(-1)
    return weights.to(v.dtype) @ v


def _blind(q: Tensor, k: Tensor, v: Tensor, unseen: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor]:
    """One coordinate more, in which queries are 1 and keys that are not to be seen -`least`: no mask is needed."""
    ones = q.new_ones(*q.shape[:-1], 1)
    hides = (unseen * -least).to(k.dtype)[:, None].expand(*k.shape[:-1], 1)
    return torch.cat([q, ones], -1), torch.cat([k, hides], -1), F.pad(v, (0, 1))


def _cut(x: Tensor, span: tuple[int, int]) -> Tensor:
    return x[:, :, span[0] : span[1]]


class _TreeAttention(torch.autograd.Function):
    """Exact attention over a `Layout`, without a [T, T] mask."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, layout: Layout, scale: float) -> Tensor:
        batch, heads, total, width = q.shape
        # The caller wants [B,T,H,D]: filling that order here saves a copy.
        out = q.new_empty(batch, total, heads, width).transpose(1, 2)
        logsum = q.new_empty(batch, heads, total, dtype=torch.float32)
        for group in layout.groups:
            keys, values = _cut(k, group.prompt), _cut(v, group.prompt)
            spans = (group.prompt, *group.branches)
            for span in spans:
                part, lse = _flash(
                    _cut(q, span), _cut(k, span), _cut(v, span), dropout_p=0.0, is_causal=True, scale=scale
                )
                _cut(out, span).copy_(part)
                logsum[:, :, span[0] : span[1]] = lse
            if not group.branches:
                continue
            span = (group.branches[0][0], group.branches[-1][1])
            shared, lse = _flash(_cut(q, span), keys, values, dropout_p=0.0, is_causal=False, scale=scale)
            own = logsum[:, :, span[0] : span[1]]
            total_lse = torch.logaddexp(own, lse)
            weight = (own - total_lse).exp()[..., None]
            _cut(out, span).mul_(weight.to(out.dtype)).add_((shared * (1 - weight)).to(out.dtype))
            logsum[:, :, span[0] : span[1]] = total_lse
        ctx.save_for_backward(q, k, v, out, logsum)
        ctx.layout, ctx.scale = layout, scale
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *saved, logsum = ctx.saved_tensors
        given = (*saved, grads[0])
        in_fp32 = cache(lambda: tuple(x.float() for x in given))

        def part(rows: tuple[int, int], columns: tuple[int, int], causal: bool) -> tuple[Tensor, ...]:
            lse = logsum[:, :, rows[0] : rows[1]].contiguous()
            size = (rows[1] - rows[0]) * saved[0].shape[-1]
            short = _BF16_PAYS_FROM is None or size < _BF16_PAYS_FROM
            q, k, v, out, grad = in_fp32() if short else given
            result: tuple[Tensor, ...] = _flash_backward(
                _cut(grad, rows),
                _cut(q, rows),
                _cut(k, columns),
                _cut(v, columns),
                _cut(out, rows),
                lse,
                0.0,
                causal,
                scale=ctx.scale,
            )
            return result

        dq, dk, dv = (torch.empty_like(x) for x in saved[:3])
        for group in ctx.layout.groups:
            for span in (group.prompt, *group.branches):
                for total, piece in zip((dq, dk, dv), part(span, span, True), strict=True):
                    _cut(total, span).copy_(piece)
            if group.branches:
                rows = (group.branches[0][0], group.branches[-1][1])
                gq, gk, gv = part(rows, group.prompt, False)
                _cut(dq, rows).add_(gq)
                _cut(dk, group.prompt).add_(gk)
                _cut(dv, group.prompt).add_(gv)
        return dq, dk, dv, None, None
