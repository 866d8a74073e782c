"""Whether a model's decoding steps are computed whole by one compiled call, which it is tried with once."""

import math
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from heedful.engine.attention import Variant
from heedful.engine.decode import Cache, DecodeRows
from heedful.engine.forward import call, prefill
from heedful.engine.kernels import library
from heedful.engine.kernels.step import StepKernel, Unlike, parts_of

# How far back the attention of a model sees that the kernel agrees with; 0 where it does not.
_reach: WeakKeyDictionary[nn.Module, float] = WeakKeyDictionary()


def whole_step(model: nn.Module, cache: Cache) -> StepKernel | None:
    """The kernel for decoding steps over a cache with prompts in it, or None where the model is called instead."""
    built = library.built()
    if built is None or any(p.device.type != "cpu" for p in model.parameters()):
        return None
    try:
        if model not in _reach:
            _reach[model] = _tried(built, model)
        seen = cache.prompt_room + cache.answer_room
        return StepKernel(built, model, cache) if _reach[model] >= seen else None
    except Unlike:
        return None


class _Watched(DecodeRows):
    """Rows that note what kind of attention each layer asks for."""

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, variant: Variant) -> Tensor:
        plain = variant.softcap is None and variant.sinks is None
        self.reach = min(getattr(self, "reach", math.inf), (variant.window or math.inf) if plain else 0)
        return super().attend(layer, q, k, v, variant)


def _tried(built: Any, model: Any) -> float:
    """Decode a step of two random prompts in both ways."""
    cache = Cache(slots=2, samples=1, prompt_room=8, answer_room=1)
    vocabulary = len(parts_of(model).whole["embedding"])
    drawn = torch.randint(vocabulary, (14,), generator=torch.Generator().manual_seed(0))
    prompts = [drawn[:7].tolist(), drawn[7:12].tolist()]
    slot, none = torch.arange(2), torch.zeros(2, dtype=torch.long)
    lengths = torch.tensor([len(p) for p in prompts])
    with torch.no_grad():
        prefill(model, cache, prompts, slot)
        kernel = StepKernel(built, model, cache)
        rows = _Watched(cache, lengths, slot, none, none)
        expected = call(model, rows, drawn[12:], lengths, slot)
        found = kernel(lengths, slot, none, drawn[12:], none)
    close = (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    return rows.reach if bool(close) else 0
