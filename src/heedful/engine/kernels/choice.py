"""Which kernels compute with given tensors: the compiled library on a CPU, Triton's on CUDA, or none: torch does it.

Both take the same names and arguments (fused.cpp). Triton is tried once, on the device, against the torch twin: where
it is missing, or does not compile or agree, torch does the work. HEEDFUL_KERNELS=0 turns all kernels off.
"""

import ctypes
import hashlib
import logging
import os
from functools import cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from heedful.engine.kernels import decode, fused, library
from heedful.errors import UserError

if TYPE_CHECKING:
    from heedful.engine.attention import Variant

Built = ctypes.CDLL | ModuleType
"""What `fused.call` runs: the compiled library, or `kernels.gpu.rows`."""


class Decoding(Protocol):
    """One step of decoding over static slots, layer by layer (kernels/decode.py, kernels/gpu/decode.py)."""

    def takes(self, q: Tensor, stored: Tensor) -> bool: ...

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        prompt: tuple[Tensor, Tensor],
        answer: tuple[Tensor, Tensor],
        variant: "Variant",
    ) -> Tensor: ...


_log = logging.getLogger(__name__)
_kept: list[str] = []


def kernels_for(*tensors: Tensor) -> Built | None:
    """What computes with these tensors, all of one type and on one device, or None for torch."""
    if not fused.takes(*tensors):
        return None
    first = tensors[0]
    if first.device.type == "cpu":
        return library.built()
    if first.device.type == "cuda" and first.shape[-1] <= fused.WIDEST:
        return on_cuda()
    return None


def decoding(slot: Tensor, sample: Tensor, written: Tensor, prompt_length: Tensor) -> Decoding | None:
    """The kernel for a decoding step of rows that lie on this device, or None for torch."""
    if not slot.is_cuda:
        return decode.kernel(slot, sample, written, prompt_length)
    if on_cuda() is None:
        return None
    made: Decoding = import_module("heedful.engine.kernels.gpu.decode").TritonDecode(
        slot, sample, written, prompt_length
    )
    return made


def tree_attention(q: Tensor) -> ModuleType | None:
    """`kernels.gpu.tree`, where it computes attention of such queries over a whole packed row."""
    if not q.is_cuda or on_cuda() is None:
        return None
    tree = import_module("heedful.engine.kernels.gpu.tree")
    return tree if tree.takes(q) else None


def on_cuda() -> ModuleType | None:
    """Triton's kernels, if this process uses them.

    Raises UserError where `keep_on_cuda` asked for some that are not at hand: with others a run would not be the same.
    """
    if _kept and _kept[0] == library.TORCH:
        return None
    if _kept and _kept[0] != (here := _name(_at_hand())):
        raise UserError(
            f"this run was begun with the kernels {_kept[0]}, which are not at hand (here: {here}): unset "
            "HEEDFUL_KERNELS and install the same versions of heedful and triton, or begin anew with resume=false"
        )
    return _at_hand()


def in_use_on_cuda() -> str:
    """The name of what computes there: Triton's version and a hash of our kernels, or `torch`."""
    return _kept[0] if _kept else _name(_at_hand())


def keep_on_cuda(name: str) -> None:
    """Use on CUDA from now on what has this name: what the work was begun with which this process goes on with."""
    if name == library.TORCH != _name(_at_hand()):
        _log.warning("this run was begun without triton's kernels and goes on so; resume=false uses them")
    _kept[:] = [name]


def _at_hand() -> ModuleType | None:
    return None if os.environ.get("HEEDFUL_KERNELS") == "0" else _tried()


@cache
def _name(kernels: ModuleType | None) -> str:
    if kernels is None:
        return library.TORCH
    sources = sorted((Path(__file__).parent / "gpu").glob("*.py"))
    ours = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:16]
    return f"triton-{version('triton')}-{ours}"


@cache
def _tried() -> ModuleType | None:
    if find_spec("triton") is None:
        _log.warning(
            "there is no triton: all goes on with torch, more slowly; install it with torch's CUDA build"
        )
        return None
    try:
        rows = import_module("heedful.engine.kernels.gpu.rows")
        x = torch.randn(3, 48, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
        found = fused.rms_norm(rows, x, x[0], 1e-6, 0)
        agree = torch.allclose(found, fused.rms_norm_twin(x, x[0], 1e-6, 0), rtol=1e-5, atol=1e-6)
    except Exception as error:  # a missing compiler, an old driver: each fails in its own way
        why = " ".join(str(error).split())[:300] or type(error).__name__
        _log.warning("triton does not work here (%s): all goes on with torch, more slowly", why)
        return None
    if not agree:
        _log.warning("triton computes other numbers than torch here: all goes on with torch, more slowly")
    return rows if agree else None
