"""The compiled form of drawing tokens (choose.cpp): rows of logits with settings of their own, in one call."""

import ctypes
from collections.abc import Sequence
from ctypes import c_int64, c_void_p

import torch
from torch import Tensor

from heedful.engine.sampling import Sampling

_SETTINGS = {
    "temperature": torch.float32,
    "top_p": torch.float32,
    "min_p": torch.float32,
    "top_k": torch.int64,
}
_FOUND = {"token": torch.int64, "logp": torch.float32, "behavior": torch.float32}


class _Draw(ctypes.Structure):
    """`Draw` of choose.cpp, field for field."""

    _fields_ = (
        *((name, c_void_p) for name in ("logits", "changed", "uniforms", *_SETTINGS, *_FOUND)),
        *((name, c_int64) for name in ("rows", "width", "threads")),
    )


def draw(
    built: ctypes.CDLL, logits: Tensor, changed: Tensor, uniforms: Tensor, hows: Sequence[Sampling]
) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens [B], their log-probs under `logits` [B, V], and under what they were drawn from [B].

    `changed` [B, V] are the logits to draw from, uniforms [B] float64, and each row's settings its own; of those only
    temperature and truncation are looked at.
    """
    logits, changed, uniforms = logits.contiguous(), changed.contiguous(), uniforms.contiguous()
    settings = {
        name: torch.tensor([getattr(how, name) for how in hows], dtype=dtype)
        for name, dtype in _SETTINGS.items()
    }
    found = {name: torch.empty(len(logits), dtype=dtype) for name, dtype in _FOUND.items()}
    asked = _Draw(rows=logits.shape[0], width=logits.shape[1], threads=torch.get_num_threads())
    given = {"logits": logits, "changed": changed, "uniforms": uniforms, **settings, **found}
    for name, tensor in given.items():
        setattr(asked, name, tensor.data_ptr())
    built.heedful_choose(ctypes.byref(asked))
    return found["token"], found["logp"], found["behavior"]


def takes(logits: Tensor) -> bool:
    """Whether these logits are the kernel's."""
    return logits.dtype == torch.float32 and logits.device.type == "cpu"
