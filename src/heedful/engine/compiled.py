"""While answers are sampled in bf16, a layer's decoding step is one compiled call, and so is the head.

A decoding step has few rows, so that its time goes into calls, and into laying weights out for matrix tiles anew each
time: here that is done once. No model is edited and no architecture is named: a layer that has the parts of a Llama's
is tried once on random numbers, and goes the short way if that gives what the layer itself gives. How it attends
(scale, window, sinks) is what it told our attention in that trial. In fp32 `engine.whole` does more.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heedful.engine.attention import KEYWORD, Variant, current_rows, using
from heedful.engine.decode import Cache, DecodeRows
from heedful.engine.kernels import library
from heedful.engine.kernels.block import Block, Norm, linear, packed, takes
from heedful.engine.kernels.decode import DecodeKernel
from heedful.engine.kernels.product import is_linear

LARGEST = 2**28
"""Parameters of a model from which on calls do not matter, and a copy of its weights would."""
MOST_ROWS = 512
NORMS = ("input_layernorm", "post_attention_layernorm")
ATTENTION = (("q_proj", "k_proj", "v_proj"), "o_proj")
Short = Callable[..., Any]
MLP = (("gate_proj", "up_proj"), "down_proj")


@contextmanager
def compiled(model: nn.Module) -> Iterator[None]:
    """Let decoding steps of `model` go the short way where it has one; its weights must not change inside."""
    changed: list[tuple[nn.Module, Any]] = []
    built = library.built()
    if built is not None and sum(p.numel() for p in model.parameters()) <= LARGEST:
        head = getattr(model, "get_output_embeddings", lambda: None)()
        for part in model.modules():
            before = vars(part).get("forward")
            if part is not head and before is not None:
                continue
            short = _head(built, part) if part is head else _layer(built, model, part)
            if short is not None:
                part.forward = short
                changed.append((part, before))
    try:
        yield
    finally:
        for part, before in changed:
            vars(part).pop("forward", None)  # another thread may sample from the same model
            if before is not None:
                part.forward = before


def _head(built: Any, part: Any) -> Short | None:
    if not is_linear(part) or not takes(part.weight):
        return None
    weights = packed(built, [part])

    def forward(x: Tensor) -> Tensor:
        if x.numel() > MOST_ROWS * x.shape[-1] or not takes(x, part.weight):
            return F.linear(x, part.weight, part.bias)
        return linear(built, weights, x)

    return forward


def _layer(built: Any, model: Any, part: Any) -> Short | None:
    block = _block(built, part)
    variant = None if block is None else _variant(model, part, block)
    if block is None or variant is None:
        return None

    def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        rows = kwargs.get(KEYWORD) or current_rows()
        turn = kwargs.get("position_embeddings")
        if isinstance(rows, DecodeRows) and turn is not None and not args:
            return _stepped(part, block, variant, rows, hidden_states, turn)
        return type(part).forward(part, hidden_states, *args, **kwargs)

    return forward


def _stepped(part: Any, block: Block, variant: Variant, rows: DecodeRows, x: Tensor, turn: Any) -> Tensor:
    assert isinstance(rows.kernel, DecodeKernel)  # of the same library
    return block.step(rows.kernel, x, turn, lambda k: rows.cache.layer(part.self_attn.layer_idx, k), variant)


def _block(built: Any, part: Any) -> Block | None:
    """The compiled form of a layer that has the parts of a Llama's and no others."""
    attention, mlp = getattr(part, "self_attn", None), getattr(part, "mlp", None)
    norms: list[Any] = [getattr(part, name, None) for name in NORMS]
    width = getattr(attention, "head_dim", None)
    homes = ((attention, ATTENTION), (mlp, MLP))
    groups: list[Any] = [
        ([getattr(home, name, None) for name in names], getattr(home, last, None))
        for home, (names, last) in homes
    ]
    layers = [layer for first, last in groups for layer in (*first, last)]
    if not all(map(is_linear, layers)):
        return None
    eps: list[Any] = [getattr(norm, "variance_epsilon", getattr(norm, "eps", None)) for norm in norms]
    if not isinstance(width, int) or any(not isinstance(e, float) for e in eps):
        return None
    own = {id(p) for layer in (*layers, *norms) for p in layer.parameters()}
    if own != {id(p) for p in part.parameters()} or not takes(*part.parameters()):
        return None
    before, between = (Norm(norm.weight, e) for norm, e in zip(norms, eps, strict=True))
    return Block(built, norms=(before, between), attention=groups[0], mlp=groups[1], width=width)


class _Witness(DecodeRows):
    """Rows that remember how a layer attends."""

    variant: Variant | None = None

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, variant: Variant) -> Tensor:
        self.variant = variant
        return super().attend(layer, q, k, v, variant)


def _variant(model: Any, part: Any, block: Block) -> Variant | None:
    """How a layer attends, if its compiled form gives what it gives itself for three answers to two prompts."""
    x = _numbers(1, 3, part.self_attn.q_proj.in_features)
    slot, sample, written = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0]), torch.tensor([2, 0, 3])
    length = torch.tensor([2, 4])

    def rows() -> _Witness:
        cache = Cache(2, 2, 4, 4)
        for pair in cache.layer(part.self_attn.layer_idx, x.new_empty(1, block.kv_heads, 1, block.width)):
            for stored in pair:
                stored.copy_(_numbers(*stored.shape))
        return _Witness(cache, length, slot, sample, written)

    itself = rows()
    try:
        with using(itself) as keywords, torch.no_grad():
            turn = model.base_model.rotary_emb(x, (length[slot] + written)[None])
            whole = type(part).forward(part, x, position_embeddings=turn, use_cache=False, **keywords)
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
        return None
    if itself.variant is None or not isinstance(whole, Tensor) or turn[0].shape != (1, 3, block.width):
        return None
    with torch.no_grad():
        short = _stepped(part, block, itself.variant, rows(), x, turn)
    gap, scale = (short.float() - whole.float()).norm(), whole.float().norm()
    return itself.variant if bool(gap <= 4 * torch.finfo(x.dtype).eps * scale) else None


def _numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).bfloat16()
