"""While answers are sampled in bf16, a decoding step of all layers is one compiled call, and so is the head.

A decoding step has few rows, so that its time goes into calls, and into laying weights out for matrix tiles anew each
time: here that is done once. No model is edited and no architecture is named: a layer that has the parts of a Llama's
is tried once on random numbers, and goes the short way if that gives what the layer itself gives. How it attends
(scale, window, sinks) is what it told our attention in that trial. A model that is nothing but such layers between an
embedding and a head, which a trial tells too, is called without what surrounds them. In fp32 `engine.whole` does more.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutput

from heedful.engine.attention import KEYWORD, Variant, current_rows, using
from heedful.engine.decode import Cache, DecodeRows
from heedful.engine.kernels import library
from heedful.engine.kernels.block import Block, Blocks, Norm, linear, packed, takes
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

    def send(part: Any, short: Short | None) -> None:
        if short is not None:
            changed.append((part, vars(part).get("forward")))
            part.forward = short

    built = library.built()
    if built is not None and sum(p.numel() for p in model.parameters()) <= LARGEST:
        head = getattr(model, "get_output_embeddings", lambda: None)()
        layers: dict[nn.Module, _Layer] = {}
        for part in model.modules():
            if part is head:
                send(part, _head(built, part))
            elif "forward" not in vars(part) and (found := _layer(built, model, part)) is not None:
                layers[part] = found
                send(part, _short(built, found))
        if "forward" not in vars(model):
            send(model, _whole(built, model, layers))
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


@dataclass(frozen=True)
class _Layer:
    """A layer, its compiled form, and how it attends."""

    part: Any
    block: Block
    variant: Variant


def _layer(built: Any, model: Any, part: Any) -> _Layer | None:
    block = _block(built, part)
    variant = None if block is None else _variant(built, model, part, block)
    return None if block is None or variant is None else _Layer(part, block, variant)


def _short(built: Any, layer: _Layer) -> Short:
    part, step = layer.part, _stepped(built, [layer])

    def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        rows = kwargs.get(KEYWORD) or current_rows()
        turn = kwargs.get("position_embeddings")
        if isinstance(rows, DecodeRows) and turn is not None and not args:
            return step(rows, hidden_states, turn)
        return type(part).forward(part, hidden_states, *args, **kwargs)

    return forward


def _stepped(built: Any, layers: Sequence[_Layer]) -> Callable[[DecodeRows, Tensor, Any], Tensor]:
    """What layers of one shape make of the states of rows."""
    blocks = Blocks(built, [layer.block for layer in layers], [layer.variant for layer in layers])
    places = [layer.part.self_attn.layer_idx for layer in layers]

    def step(rows: DecodeRows, x: Tensor, turn: Any) -> Tensor:
        assert isinstance(rows.kernel, DecodeKernel)  # of the same library
        return blocks.step(rows.kernel, x, turn, lambda n, k: rows.cache.layer(places[n], k))

    return step


def _whole(built: Any, model: Any, layers: Mapping[nn.Module, _Layer]) -> Short | None:
    """A model's decoding step without what surrounds its layers, if that gives the same bits."""
    try:
        base, head, embedding = model.base_model, model.get_output_embeddings(), model.get_input_embeddings()
        found, norm, rotary = [layers[part] for part in base.layers], base.norm, base.rotary_emb
    except (AttributeError, KeyError, TypeError):
        return None
    if len({(layer.block.heads, layer.block.kv_heads, layer.block.width) for layer in found}) != 1:
        return None
    step = _stepped(built, found)

    def forward(*args: Any, **kwargs: Any) -> Any:
        rows = kwargs.get(KEYWORD) or current_rows()
        at, keep = kwargs.get("position_ids"), kwargs.get("logits_to_keep")
        if not isinstance(rows, DecodeRows) or len(args) != 1 or at is None or not isinstance(keep, Tensor):
            return type(model).forward(model, *args, **kwargs)
        x = embedding(args[0])
        x = step(rows, x, rotary(x, position_ids=at))
        return CausalLMOutput(logits=head(norm(x)[:, keep]))

    def logits(form: Short) -> Tensor:
        rows = _Witness([layer.part.self_attn.layer_idx for layer in found], found[0].block)
        token, keep = torch.arange(3)[None] % len(embedding.weight), torch.arange(3)
        with using(rows) as keywords, torch.no_grad():
            given = {"position_ids": rows.position[None], "logits_to_keep": keep, "use_cache": False}
            told: Tensor = form(token, **given, **keywords).logits
        return told

    try:
        return forward if torch.equal(logits(model), logits(forward)) else None
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
        return None


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
    """Three answers to two prompts of random keys and values, that remember how a layer attends."""

    variant: Variant | None = None

    def __init__(self, layers: Sequence[int], block: Block) -> None:
        cache, slot, written = Cache(2, 2, 4, 4), torch.tensor([0, 0, 1]), torch.tensor([2, 0, 3])
        for layer in layers:
            for pair in cache.layer(layer, _numbers(1, block.kv_heads, 1, block.width)):
                for stored in pair:
                    stored.copy_(_numbers(*stored.shape))
        length = torch.tensor([2, 4])
        super().__init__(cache, length, slot, torch.tensor([0, 1, 0]), written)
        self.position = length[slot] + written

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, variant: Variant) -> Tensor:
        self.variant = variant
        return super().attend(layer, q, k, v, variant)


def _variant(built: Any, model: Any, part: Any, block: Block) -> Variant | None:
    """How a layer attends, if its compiled form gives what it gives itself."""
    x = _numbers(1, 3, part.self_attn.q_proj.in_features)
    layers = [part.self_attn.layer_idx]
    itself = _Witness(layers, block)
    try:
        with using(itself) as keywords, torch.no_grad():
            turn = model.base_model.rotary_emb(x, itself.position[None])
            whole = type(part).forward(part, x, position_embeddings=turn, use_cache=False, **keywords)
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
        return None
    if itself.variant is None or not isinstance(whole, Tensor) or turn[0].shape != (1, 3, block.width):
        return None
    with torch.no_grad():
        short = _stepped(built, [_Layer(part, block, itself.variant)])(_Witness(layers, block), x, turn)
    gap, scale = (short.float() - whole.float()).norm(), whole.float().norm()
    return itself.variant if bool(gap <= 4 * torch.finfo(x.dtype).eps * scale) else None


def _numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).bfloat16()
