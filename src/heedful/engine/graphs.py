"""Decoding steps that are recorded for a number of rows and then replayed: on CUDA as graphs.

A step of few rows keeps the host busy with some hundred launches while the GPU waits; recorded, it is one. Recorded
work reads and writes the same memory each time, so rows are written into buffers that stay, and are filled up to the
next bucket with rows in slot -1, which read and write nothing.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor, nn

from heedful.engine.decode import Cache, DecodeRows
from heedful.engine.forward import call, decode
from heedful.engine.kernels import choice

Work = Callable[..., Tensor]
Recorder = Callable[[Work, Sequence[Tensor]], Callable[[], Tensor]]
"""Takes work and the buffers that it is given; returns what does it again on what the buffers hold by then."""

NO_SLOT = -1

_log = logging.getLogger(__name__)


def recorded_steps(model: nn.Module, stored: Cache) -> "Steps | None":
    """Recorded decoding over a cache, or None where steps are not recorded: on CPUs, and without kernels."""
    device = next(model.parameters(), torch.empty(0)).device
    if device.type != "cuda" or choice.on_cuda() is None:
        return None
    return Steps(model, stored, CudaGraphs())


class Steps:
    """Decoding steps by buckets: the first step of a bucket is recorded, those that follow are replayed.

    If recording fails, it is said once and all steps are computed as they are elsewhere.
    """

    def __init__(self, model: nn.Module, stored: Cache, record: Recorder) -> None:
        self.model, self.cache, self.record = model, stored, record
        device = next(model.parameters()).device
        self.most = stored.slots * stored.samples
        self.rows = torch.zeros(4, self.most, dtype=torch.long, device=device)
        self.prompt_length = torch.zeros(stored.slots, dtype=torch.long, device=device)
        self.every = torch.arange(self.most, device=device)
        self.replays: dict[int, Callable[[], Tensor]] = {}
        self.failed = False

    def __call__(
        self, prompt_length: Tensor, slot: Tensor, sample: Tensor, token: Tensor, written: Tensor
    ) -> Tensor:
        """As `forward.decode`. The logits are overwritten by the next step."""
        given = torch.stack([slot, sample, token, written])
        if not self.failed:
            found = self._replayed(prompt_length, given)
            if found is not None:
                return found
        return decode(self.model, self.cache, prompt_length, slot, sample, token, written)

    def _replayed(self, prompt_length: Tensor, given: Tensor) -> Tensor | None:
        n = given.shape[1]
        size = bucket(n, self.most)
        padded = given.new_zeros(4, size)
        padded[0, n:] = NO_SLOT
        padded[:, :n] = given
        self.rows[:, :size].copy_(padded)
        self.prompt_length.copy_(prompt_length)
        if size not in self.replays:
            buffers = (self.prompt_length, *self.rows[:, :size], self.every[:size])
            try:
                self.replays[size] = self.record(self._work, buffers)
            except Exception as error:  # what cannot be recorded fails in many ways
                self.failed = True
                _say(" ".join(str(error).split())[:200] or type(error).__name__)
                return None
        return self.replays[size]()[:n]

    def _work(
        self,
        prompt_length: Tensor,
        slot: Tensor,
        sample: Tensor,
        token: Tensor,
        written: Tensor,
        keep: Tensor,
    ) -> Tensor:
        rows = DecodeRows(self.cache, prompt_length, slot, sample, written)
        return call(self.model, rows, token, prompt_length[slot.clamp_min(0)] + written, keep)


class CudaGraphs:
    """Records work as CUDA graphs that share their memory: what one returns lasts until the next is replayed."""

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Work, buffers: Sequence[Tensor]) -> Callable[[], Tensor]:
        with torch.cuda.device(buffers[0].device):
            now, beside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
            beside.wait_stream(now)
            with torch.cuda.stream(beside):  # compiles kernels and opens libraries, which recording forbids
                work(*buffers)
            now.wait_stream(beside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
                out = work(*buffers)

        def replay() -> Tensor:
            graph.replay()
            return out

        return replay


def bucket(rows: int, most: int) -> int:
    """The rows that a recorded step has which computes `rows` of them: a power of two, or the most there can be."""
    return min(1 << (rows - 1).bit_length(), most)


@cache
def _say(why: str) -> None:
    _log.warning(
        "decoding steps cannot be recorded as CUDA graphs (%s): all goes on without, more slowly", why
    )
