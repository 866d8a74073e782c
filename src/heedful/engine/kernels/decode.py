"""The compiled form of one decoding step's attention (decode.cpp), called without copies."""

import ctypes
from ctypes import c_float, c_int64, c_void_p
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from heedful.engine.kernels import library

if TYPE_CHECKING:
    from heedful.engine.attention import Variant

_ENTRY = {torch.float32: "heedful_decode_float32", torch.bfloat16: "heedful_decode_bfloat16"}
_POINTERS = ("q", "k", "v", "out", "prompt_k", "prompt_v", "answer_k", "answer_v")
_ROWS = ("slot", "sample", "written", "prompt_length")
_SIZES = ("slots", "rows", "heads", "kv_heads", "width", "prompt_room", "samples", "answer_room")
_STRIDES = ("q_head", "q_row", "k_head", "k_row", "v_head", "v_row", "window", "threads")
OUTSIDE = "a row of this decoding step lies outside the slots of its cache"


class _Step(ctypes.Structure):
    """`Step` of decode.cpp, field for field."""

    _fields_ = (
        *((name, c_void_p) for name in (*_POINTERS, *_ROWS, "sinks")),
        *((name, c_int64) for name in (*_SIZES, *_STRIDES)),
        ("scale", c_float),
        ("softcap", c_float),
    )


class DecodeKernel:
    """One step of decoding: which sample of which slot each row is; then `attend`, layer by layer.

    slot, sample, written [B] and prompt_length [slots] as in `engine.decode.DecodeRows`.
    """

    def __init__(
        self, built: ctypes.CDLL, slot: Tensor, sample: Tensor, written: Tensor, prompt_length: Tensor
    ) -> None:
        self._built = built
        # Pointers do not keep tensors alive.
        self._rows = tuple(t.contiguous() for t in (slot, sample, written, prompt_length))
        self._step = _Step(rows=len(slot), threads=torch.get_num_threads())
        for name, tensor in zip(_ROWS, self._rows, strict=True):
            setattr(self._step, name, tensor.data_ptr())

    @staticmethod
    def takes(q: Tensor, stored: Tensor) -> bool:
        """Whether queries and stored keys of these types, on this device, are the kernel's."""
        return q.dtype in _ENTRY and q.dtype == stored.dtype and q.device.type == "cpu"

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

        prompt: keys and values [slots,Hkv,P,D]; answer: [slots,Hkv,n,T,D]. There is no gradient.
        Raises IndexError for a row outside of them.
        """
        q, k, v = (t if t.stride(-1) == 1 else t.contiguous() for t in (q, k, v))
        _, heads, rows, width = q.shape
        out = q.new_empty(1, rows, heads, width)
        step = self.told((q, k, v), out, prompt, answer, variant)
        if getattr(self._built, _ENTRY[q.dtype])(ctypes.byref(step)):
            raise IndexError(OUTSIDE)
        return out

    def told(
        self,
        qkv: tuple[Tensor, Tensor, Tensor],
        out: Tensor,
        prompt: tuple[Tensor, Tensor],
        answer: tuple[Tensor, Tensor],
        variant: "Variant",
    ) -> ctypes.Structure:
        """What the compiled function is told, until it is told something else; the caller holds the tensors."""
        q, k, v = qkv
        _, heads, _, width = q.shape
        self._sinks = None if variant.sinks is None else variant.sinks.detach().float().contiguous()
        step = self._step
        for name, tensor in zip(_POINTERS, (q, k, v, out, *prompt, *answer), strict=True):
            setattr(step, name, tensor.data_ptr())
        step.slots, step.kv_heads, step.samples, step.answer_room, _ = answer[0].shape
        step.heads, step.width, step.prompt_room = heads, width, prompt[0].shape[2]
        _, step.q_head, step.q_row, _ = q.stride()
        _, step.k_head, step.k_row, _ = k.stride()
        _, step.v_head, step.v_row, _ = v.stride()
        step.sinks = None if self._sinks is None else self._sinks.data_ptr()
        step.window, step.softcap = variant.window or 0, variant.softcap or 0.0
        step.scale = variant.scale
        return step


def kernel(slot: Tensor, sample: Tensor, written: Tensor, prompt_length: Tensor) -> DecodeKernel | None:
    """The kernel for one step of decoding, or None where this process goes without."""
    built = library.built()
    return None if built is None else DecodeKernel(built, slot, sample, written, prompt_length)
