"""A whole decoding step as one compiled call (step.cpp), for models of Llama's shape in fp32.

No architecture is named: a model whose parts look right is tried once on random tokens, and where the call gives the
logits that the model gives, decoding goes through it from then on. Weights are read where they lie, so training goes
on under it. A row's logits do not depend on other rows, bit by bit.
"""

import ctypes
from ctypes import POINTER, c_float, c_int64, c_void_p
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from heedful.engine.kernels import fused

if TYPE_CHECKING:
    from heedful.engine.decode import Cache

_WEIGHTS = ("norm_in", "q", "k", "v", "q_bias", "k_bias", "v_bias", "q_norm", "k_norm", "o", "o_bias")
_MLP = ("norm_mid", "gate", "up", "down")
_STORED = ("prompt_k", "prompt_v", "answer_k", "answer_v")
_TENSORS = ("embedding", "norm_out", "head", "cos", "sin")
_ROWS = ("token", "slot", "sample", "written", "prompt_length")
_SIZES = ("depth", "rows", "hidden", "heads", "kv_heads", "width", "inner", "vocabulary", "positions")
_ROOM = ("slots", "prompt_room", "samples", "answer_room", "threads")


class _Layer(ctypes.Structure):
    """`Layer` of step.cpp, field for field."""

    _fields_ = tuple((name, c_void_p) for name in (*_WEIGHTS, *_MLP, *_STORED))


class _Whole(ctypes.Structure):
    """`Whole` of step.cpp, field for field."""

    _fields_ = (
        ("layers", POINTER(_Layer)),
        *((name, c_void_p) for name in (*_TENSORS, *_ROWS, "scratch", "logits")),
        *((name, c_int64) for name in (*_SIZES, *_ROOM)),
        ("eps", c_float),
        ("scale", c_float),
    )


class Unlike(Exception):
    """A model is not of the kernel's shape."""


@dataclass(frozen=True)
class Parts:
    """What the kernel reads of a model: tensors by name, of each layer and of the whole, and numbers."""

    layers: list[dict[str, Tensor | None]]
    whole: dict[str, Tensor]
    eps: float
    scale: float
    width: int


def parts_of(model: Any) -> Parts:
    """The parts of a model. Raises `Unlike` where something is missing, or there that the kernel does not know."""
    try:
        base = model.base_model
        blocks, head = list(base.layers), model.get_output_embeddings()
        layers = [_layer(block) for block in blocks]
        first = blocks[0].self_attn
        whole = {
            "embedding": model.get_input_embeddings().weight,
            "norm_out": _only(base.norm, "weight"),
            "head": _only(head, "weight"),
        }
        norms = [base.norm, *(n for b in blocks for n in (b.input_layernorm, b.post_attention_layernorm))]
        eps = {norm.variance_epsilon for norm in norms}
        scales = {block.self_attn.scaling for block in blocks}
        width = int(first.head_dim)
    except (AttributeError, IndexError, TypeError) as error:
        raise Unlike from error
    found = [t for row in (*layers, whole) for t in row.values() if t is not None]
    if not all(fused.takes(t) and t.dtype == torch.float32 and t.is_contiguous() for t in found):
        raise Unlike
    if len(eps) != 1 or len(scales) != 1:
        raise Unlike
    return Parts(layers, whole, eps.pop(), scales.pop(), width)


def _layer(block: Any) -> dict[str, Tensor | None]:
    attention, mlp = block.self_attn, block.mlp
    linear = {name: getattr(attention, f"{name}_proj") for name in "qkvo"}
    gated = {name: getattr(mlp, f"{name}_proj") for name in ("gate", "up", "down")}
    if any(type(layer) is not nn.Linear for layer in (*linear.values(), *gated.values())):
        raise Unlike
    # Where activations are small, as in a new model, functions differ too little for a trial of the whole to tell.
    x = torch.linspace(-4, 4, 65)
    if not torch.allclose(mlp.act_fn(x), functional.silu(x)):
        raise Unlike
    found: dict[str, Tensor | None] = {"norm_in": _only(block.input_layernorm, "weight")}
    found["norm_mid"] = _only(block.post_attention_layernorm, "weight")
    for name, layer in linear.items():
        found |= {name: layer.weight, f"{name}_bias": layer.bias}
    found |= {name: _only(layer, "weight") for name, layer in gated.items()}
    for name in ("q_norm", "k_norm"):
        norm = getattr(attention, name, None)
        found[name] = None if norm is None else _only(norm, "weight")
    if sum(t is not None for t in found.values()) != len(list(block.parameters())):
        raise Unlike
    return found


def _only(module: Any, name: str) -> Tensor:
    """The parameter of a module that has no other."""
    if [n for n, _ in module.named_parameters()] != [name]:
        raise Unlike
    found: Tensor = getattr(module, name)
    return found


def rotary(model: Any, positions: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [positions, D] of a model's rotary embedding. Raises `Unlike` where they change with length."""
    try:
        turn, like = model.base_model.rotary_emb, model.get_input_embeddings().weight[None, :1]

        def at(*ids: int) -> tuple[Tensor, Tensor]:
            cos, sin = turn(like, position_ids=torch.tensor([ids]))
            return cos[0].float().contiguous(), sin[0].float().contiguous()

        alone = [at(0), at(positions - 1)]
        cos, sin = at(*range(positions))
    except (AttributeError, TypeError, ValueError) as error:
        raise Unlike from error
    for (c, s), place in zip(alone, (0, -1), strict=True):
        if not torch.equal(c[0], cos[place]) or not torch.equal(s[0], sin[place]):
            raise Unlike
    return cos, sin


class StepKernel:
    """Decoding of one model over one cache, for which its parameters stay the same objects; their values may change."""

    def __init__(self, built: ctypes.CDLL, model: Any, cache: "Cache") -> None:
        """Raises `Unlike` for a model that is not of the kernel's shape."""
        self._built, self._parts = built, parts_of(model)
        cos, sin = rotary(model, cache.prompt_room + cache.answer_room)
        if cos.shape[1] != self._parts.width:
            raise Unlike
        layers = [
            row | dict(zip(_STORED, (*cache.prompt[at], *cache.answer[at]), strict=True))
            for at, row in enumerate(self._parts.layers)
        ]
        self._layers, self._step = (_Layer * len(layers))(), _Whole()
        self._step.layers = self._layers
        whole: dict[str, Tensor | None] = {**self._parts.whole, "cos": cos, "sin": sin}
        read = [*zip(self._layers, layers, strict=True), (self._step, whole)]
        self._pointers = [(to, name, t) for to, row in read for name, t in row.items() if t is not None]
        self._places: list[int] = []
        self._scratch = torch.empty(0)
        self._measure(cache, len(cos))
        built.heedful_step_scratch.restype = c_int64

    def _measure(self, cache: "Cache", positions: int) -> None:
        parts, step = self._parts, self._step
        first = {name: t.shape[0] for name, t in parts.layers[0].items() if t is not None}
        step.depth, step.width, step.positions = len(parts.layers), parts.width, positions
        step.vocabulary, step.hidden = parts.whole["head"].shape
        step.heads, step.kv_heads = first["q"] // parts.width, first["k"] // parts.width
        step.inner = first["gate"]
        step.slots, step.samples = cache.slots, cache.samples
        step.prompt_room, step.answer_room = cache.prompt_room, cache.answer_room
        step.eps, step.scale = parts.eps, parts.scale

    def __call__(
        self, prompt_length: Tensor, slot: Tensor, sample: Tensor, token: Tensor, written: Tensor
    ) -> Tensor:
        """The logits [B, V] behind each row's last token; the arguments are `forward.decode`'s.

        Raises IndexError for a row outside of the cache, the vocabulary or the positions.
        """
        self._point()
        step = self._step
        # Pointers do not keep tensors alive.
        rows = [t.contiguous() for t in (token, slot, sample, written, prompt_length)]
        logits = torch.empty(len(slot), step.vocabulary)
        step.rows, step.threads = len(slot), torch.get_num_threads()
        for name, tensor in zip((*_ROWS, "logits"), (*rows, logits), strict=True):
            setattr(step, name, tensor.data_ptr())
        needed = self._built.heedful_step_scratch(ctypes.byref(step))
        if len(self._scratch) < needed:
            self._scratch = torch.empty(needed)
        step.scratch = self._scratch.data_ptr()
        if self._built.heedful_step(ctypes.byref(step)):
            raise IndexError(
                "a row of this decoding step lies outside the cache, the vocabulary or the positions"
            )
        return logits

    def _point(self) -> None:
        """Tell the kernel where everything lies, anew where something has moved."""
        places = [tensor.data_ptr() for _, _, tensor in self._pointers]
        if places != self._places:
            self._places = places
            for (to, name, _), place in zip(self._pointers, places, strict=True):
                setattr(to, name, place)
