"""The one place where fused kernels enter models: layers whose numbers they give are sent through them.

No architecture is named. A layer that looks like an RMSNorm or a gated MLP, and a function that looks like the rotary
embedding, are tried once on random numbers; where what comes out is the torch twin's, calls go through the kernel from
then on, as long as this process uses one for such tensors (`kernels.choice`), and else the old way.
"""

import sys
from collections.abc import Callable
from types import MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from heedful.engine.kernels import fused, gated
from heedful.engine.kernels.choice import kernels_for
from heedful.engine.kernels.product import use_products

ROTARY = "apply_rotary_pos_emb"
_BEFORE = "heedful_before"


def use_fused(model: Any) -> None:
    """Send every layer inside `model` that the kernels know through them."""
    for part in model.modules():
        if "forward" in vars(part):  # someone else's, or ours already
            continue
        if (known := _norm(part)) is not None:
            part.heedful_norm = known
            part.forward = MethodType(_normed, part)
        elif _gated(part):
            part.forward = MethodType(_gated_forward, part)
        elif type(part) is nn.Linear:
            use_products(part)
        space = sys.modules[type(part).__module__]
        rotate = getattr(space, ROTARY, None)
        if rotate is not None and not hasattr(rotate, _BEFORE) and _rotates(rotate):
            _wrap(space, rotate)


def _normed(self: Any, hidden_states: Tensor) -> Tensor:
    built = kernels_for(hidden_states, self.weight)
    if built is None:
        result: Tensor = type(self).forward(self, hidden_states)
        return result
    return fused.rms_norm(built, hidden_states, self.weight, *self.heedful_norm)


def _gated_forward(self: Any, x: Tensor) -> Tensor:
    layers = self.gate_proj, self.up_proj, self.down_proj
    if (whole := gated.kernel_for(x, *layers)) is not None:
        return gated.mlp(whole, x, *(layer.weight for layer in layers))
    gate, up = self.gate_proj(x), self.up_proj(x)
    built = kernels_for(gate, up)
    hidden = self.act_fn(gate) * up if built is None else fused.swiglu(built, gate, up)
    result: Tensor = self.down_proj(hidden)
    return result


def _wrap(space: ModuleType, before: Callable[..., Any]) -> None:
    def rotate(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, *args: Any, **kwargs: Any) -> Any:
        built = kernels_for(q, k, cos, sin)
        plain = not args and not kwargs and not cos.requires_grad and not sin.requires_grad
        if built is None or not plain or not _one_row(q, k, cos, sin):
            return before(q, k, cos, sin, *args, **kwargs)
        return fused.rotary(built, q, cos, sin), fused.rotary(built, k, cos, sin)

    setattr(rotate, _BEFORE, before)
    setattr(space, ROTARY, rotate)


def _one_row(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> bool:
    """Whether q and k [1,H,T,D] are turned whole by cos and sin [1,T,D]."""
    shape = (1, q.shape[-2], q.shape[-1])
    return q.dim() == k.dim() == 4 and len(q) == len(k) == 1 and cos.shape == sin.shape == shape


def _norm(part: Any) -> tuple[float, int] | None:
    """Epsilon and shift of an RMSNorm, or None for anything else."""
    weight = getattr(part, "weight", None)
    eps = getattr(part, "variance_epsilon", getattr(part, "eps", None))
    if not (isinstance(weight, Tensor) and weight.dim() == 1 and isinstance(eps, float)):
        return None
    if [name for name, _ in part.named_parameters()] != ["weight"] or not fused.takes(weight):
        return None
    x = _numbers(2, 3, len(weight)).to(weight)
    found = _tried(type(part).forward, part, x)
    for shift in (0, 1):
        if found is not None and _equal(found, fused.rms_norm_twin(x, weight, eps, shift)):
            return eps, shift
    return None


def _gated(part: Any) -> bool:
    """Whether `part` is down(silu(gate(x)) up(x)) and nothing else."""
    names = ("gate_proj", "up_proj", "down_proj")
    weights = [getattr(getattr(part, name, None), "weight", None) for name in names]  # adapters have one too
    weight = weights[0]
    if any(w is None for w in weights) or not isinstance(weight, Tensor) or not hasattr(part, "act_fn"):
        return False
    if not fused.takes(weight):
        return False
    x = _numbers(1, 2, weight.shape[1]).to(weight)
    found = _tried(type(part).forward, part, x)
    with torch.no_grad():
        expected = part.down_proj(fused.swiglu_twin(part.gate_proj(x), part.up_proj(x)))
    return found is not None and _equal(found, expected)


def _rotates(rotate: Callable[..., Any]) -> bool:
    q, k = _numbers(1, 2, 3, 8), _numbers(1, 1, 3, 8)
    cos, sin = _numbers(1, 3, 8).cos(), _numbers(1, 3, 8).sin()
    found = _tried(rotate, q, k, cos, sin)
    expected = fused.rotary_twin(q, cos, sin), fused.rotary_twin(k, cos, sin)
    return found is not None and len(found) == 2 and all(map(_equal, found, expected))


def _tried(function: Callable[..., Any], *args: Any) -> Any:
    """What a function says to random numbers, or None where it will not take them."""
    try:
        with torch.no_grad():
            return function(*args)
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
        return None


def _equal(found: Any, expected: Tensor) -> bool:
    if not isinstance(found, Tensor) or found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    gap = (found - expected).abs().max()
    return bool(gap <= 8 * torch.finfo(expected.dtype).eps * expected.abs().max())


def _numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))
