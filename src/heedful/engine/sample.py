"""Sampling: continuous batching over static slots, prompts computed once for all their answers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from heedful.engine.attention import using
from heedful.engine.decode import Cache, DecodeRows, PrefillRows
from heedful.engine.layout import Layout
from heedful.engine.randomness import uniform


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt to be answered once per key; the same key gives the same answer whatever else is sampled."""

    prompt: Sequence[int]
    keys: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. Temperature 0 is greedy; `top_k` 0 and `top_p` 1 mean no truncation."""

    max_completion_length: int = 64
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer: ids [n] with its final EOS where it stopped by itself, and the log-prob of each token.

    `logp` is under the distribution that was sampled from without truncation (at temperature 0: the model's).
    """

    ids: NDArray[np.int64]
    logp: NDArray[np.float32]
    finished: bool


def choose(logits: Tensor, uniforms: Tensor, how: Sampling) -> tuple[Tensor, Tensor]:
    """Pick one token per row of logits [B, V] by inverse CDF from uniforms [B]; return ids and log-probs [B]."""
    logits = logits.float()
    if how.temperature == 0:
        token = logits.argmax(-1)
        return token, logits.log_softmax(-1).gather(-1, token[:, None])[:, 0]
    logp = (logits / how.temperature).log_softmax(-1)
    p = logp.exp()
    if how.top_k:
        kept = p.topk(min(how.top_k, p.shape[-1]), -1).values[:, -1:]
        p = p.masked_fill(p < kept, 0.0)
    if how.top_p < 1:
        ordered, order = p.sort(-1, descending=True)
        before = ordered.cumsum(-1) - ordered
        p = p.masked_fill(
            torch.zeros_like(p, dtype=torch.bool).scatter(
                -1, order, before >= how.top_p * p.sum(-1, keepdim=True)
            ),
            0.0,
        )
    cdf = p.cumsum(-1, dtype=torch.float64)
    token = torch.searchsorted(cdf, uniforms[:, None] * cdf[:, -1:], right=True)[:, 0]
    # Rounding may place u just past the last token with any mass.
    token = torch.minimum(token, (p > 0).long().mul(torch.arange(p.shape[-1])).amax(-1))
    return token, logp.gather(-1, token[:, None])[:, 0]


class _Batch:
    """The answers being written: which request and sample each row is, its slot, last token and length."""

    def __init__(
        self, model: nn.Module, requests: Sequence[Request], how: Sampling, stop: Tensor, slots: int
    ) -> None:
        self.model, self.requests, self.how, self.stop = model, requests, how, stop
        self.samples = len(requests[0].keys)
        longest = max(len(r.prompt) for r in requests)
        self.cache = Cache(min(slots, len(requests)), self.samples, longest, how.max_completion_length)
        self.prompt_length = torch.zeros(self.cache.slots, dtype=torch.long)
        self.waiting = list(range(len(requests)))[::-1]
        self.free = list(range(self.cache.slots))[::-1]
        self.left = [0] * self.cache.slots
        empty = torch.zeros(0, dtype=torch.long)
        self.request = self.slot = self.sample = self.token = self.written = self.key = empty
        self.tokens = torch.zeros(len(requests), self.samples, how.max_completion_length, dtype=torch.long)
        self.logp = torch.zeros(len(requests), self.samples, how.max_completion_length)
        self.length = torch.zeros(len(requests), self.samples, dtype=torch.long)
        self.finished = torch.zeros(len(requests), self.samples, dtype=torch.bool)

    def admit(self) -> None:
        """Compute the prompts of waiting requests into free slots and draw their answers' first tokens."""
        new = [self.waiting.pop() for _ in range(min(len(self.free), len(self.waiting)))]
        slots = torch.tensor([self.free.pop() for _ in new])
        prompts = [np.asarray(self.requests[i].prompt, dtype=np.int64) for i in new]
        layout = Layout([(len(p), ()) for p in prompts])
        self.prompt_length[slots] = torch.tensor([len(p) for p in prompts])
        ids = torch.from_numpy(np.concatenate(prompts))
        ends = torch.tensor([g.prompt[1] - 1 for g in layout.groups])
        logits = self._call(PrefillRows(self.cache, layout, slots), ids, layout.positions, ends)
        n = self.samples
        for slot in slots.tolist():
            self.left[slot] = n
        self.request = torch.cat([self.request, torch.tensor(new).repeat_interleave(n)])
        self.slot = torch.cat([self.slot, slots.repeat_interleave(n)])
        self.sample = torch.cat([self.sample, torch.arange(n).repeat(len(new))])
        self.key = torch.cat([self.key, torch.tensor([k for i in new for k in self.requests[i].keys])])
        fresh = torch.zeros(n * len(new), dtype=torch.long)
        self.written = torch.cat([self.written, fresh])
        self.token = torch.cat([self.token, fresh])
        self._draw(logits.repeat_interleave(n, 0), slice(len(self.slot) - len(fresh), None))

    def step(self) -> None:
        """Run the model on every active answer's last token and draw the next."""
        rows = DecodeRows(self.cache, self.prompt_length, self.slot, self.sample, self.written - 1)
        position = self.prompt_length[self.slot] + self.written - 1
        self._draw(self._call(rows, self.token, position, torch.arange(len(self.slot))), slice(None))

    def retire(self) -> None:
        """Take out the answers that have ended; a slot whose answers have all ended is free again."""
        ended = torch.isin(self.token, self.stop)
        done = ended | (self.written >= self.how.max_completion_length)
        if not bool(done.any()):
            return
        self.length[self.request[done], self.sample[done]] = self.written[done]
        self.finished[self.request[done], self.sample[done]] = ended[done]
        for slot in self.slot[done].tolist():
            self.left[slot] -= 1
            if self.left[slot] == 0:
                self.free.append(slot)
        for name in ("request", "slot", "sample", "token", "written", "key"):
            setattr(self, name, getattr(self, name)[~done])

    def _call(self, rows: PrefillRows | DecodeRows, ids: Tensor, position: Tensor, keep: Tensor) -> Tensor:
        with using(rows) as keywords:
            out = self.model(
                ids[None], position_ids=position[None], use_cache=False, logits_to_keep=keep, **keywords
            )
        logits: Tensor = out.logits[0]
        return logits

    def _draw(self, logits: Tensor, where: slice) -> None:
        request, sample, written = self.request[where], self.sample[where], self.written[where]
        token, logp = choose(logits, uniform(self.key[where], written), self.how)
        self.tokens[request, sample, written] = token
        self.logp[request, sample, written] = logp
        self.token[where] = token
        self.written[where] += 1


def sample(
    model: nn.Module,
    requests: Sequence[Request],
    how: Sampling,
    *,
    stop: Sequence[int],
    slots: int = 64,
) -> list[list[Sample]]:
    """Answer every request once per key: result[request][key]. All requests have the same number of keys.

    `stop` are the ids that end an answer; `slots` is how many prompts are in work at once.
    """
    if not requests:
        return []
    if len({len(r.keys) for r in requests}) != 1:
        raise ValueError("all requests of one call need the same number of keys")
    with torch.no_grad():
        batch = _Batch(model, requests, how, torch.tensor(list(stop)), slots)
        while batch.waiting or len(batch.slot):
            # Prefilling a few prompts at a time costs a model call each: wait until a quarter is free.
            if batch.waiting and len(batch.free) * 4 >= batch.cache.slots:
                batch.admit()
            else:
                batch.step()
            batch.retire()
    return [
        [
            Sample(
                batch.tokens[i, j, :n].numpy().copy(),
                batch.logp[i, j, :n].numpy().copy(),
                bool(batch.finished[i, j]),
            )
            for j, n in enumerate(row)
        ]
        for i, row in enumerate(batch.length.tolist())
    ]
