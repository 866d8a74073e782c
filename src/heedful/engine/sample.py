"""Sampling: continuous batching over static slots, prompts computed once for all their answers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from heedful.engine.beam import beam_search
from heedful.engine.choose import Counts, choose
from heedful.engine.decode import Cache
from heedful.engine.forward import decode, prefill
from heedful.engine.joined import joined
from heedful.engine.randomness import uniform
from heedful.engine.sampling import Request, Sample, Sampling
from heedful.engine.stops import StopStrings
from heedful.errors import UserError

__all__ = ["Request", "Sample", "Sampling", "choose", "sample"]


class _Batch:
    """The answers being written: which request and sample each row is, its slot, last token and length."""

    def __init__(
        self,
        model: nn.Module,
        requests: Sequence[Request],
        how: Sampling,
        stop: Tensor,
        slots: int,
        tokenizer: Any,
    ) -> None:
        self.model, self.requests, self.how, self.stop = model, requests, how, stop
        self.samples = max((len(r.keys) for r in requests), default=0)
        self.waiting = [i for i, r in enumerate(requests) if r.keys][::-1]
        longest = max((len(r.prompt) for r in requests), default=0)
        self.cache = Cache(min(slots, len(requests)), self.samples, longest, how.max_completion_length)
        self.prompt_length = torch.zeros(self.cache.slots, dtype=torch.long)
        self.free = list(range(self.cache.slots))[::-1]
        self.left = [0] * self.cache.slots
        empty = torch.zeros(0, dtype=torch.long)
        self.request = self.slot = self.sample = self.token = self.written = self.key = empty
        self.stopped = torch.zeros(0, dtype=torch.bool)
        shape = (len(requests), self.samples)
        self.tokens = torch.zeros(*shape, how.max_completion_length, dtype=torch.long)
        self.logp = torch.zeros(*shape, how.max_completion_length)
        self.behavior_logp = torch.zeros_like(self.logp) if how.behavior_logp else None
        self.length = torch.zeros(shape, dtype=torch.long)
        self.finished = torch.zeros(shape, dtype=torch.bool)
        self.counts: Counts | None = None
        self.strings = StopStrings(tokenizer, how.stop, self.cache.slots, self.samples) if how.stop else None

    def admit(self) -> None:
        """Compute the prompts of waiting requests into free slots and draw their answers' first tokens."""
        new = [self.waiting.pop() for _ in range(min(len(self.free), len(self.waiting)))]
        slots = torch.tensor([self.free.pop() for _ in new])
        prompts = [self.requests[i].prompt for i in new]
        self.prompt_length[slots] = torch.tensor([len(p) for p in prompts])
        logits = prefill(self.model, self.cache, prompts, slots)
        self._start(slots, prompts, logits.shape[-1])
        answers = [len(self.requests[i].keys) for i in new]
        for slot, n in zip(slots.tolist(), answers, strict=True):
            self.left[slot] = n
        each = torch.tensor(answers)
        self.request = torch.cat([self.request, torch.tensor(new).repeat_interleave(each)])
        self.slot = torch.cat([self.slot, slots.repeat_interleave(each)])
        self.sample = torch.cat([self.sample, *map(torch.arange, answers)])
        self.key = torch.cat([self.key, torch.tensor([k for i in new for k in self.requests[i].keys])])
        fresh = torch.zeros(sum(answers), dtype=torch.long)
        self.written = torch.cat([self.written, fresh])
        self.token = torch.cat([self.token, fresh])
        self.stopped = torch.cat([self.stopped, fresh.bool()])
        self._draw(logits.repeat_interleave(each, 0), slice(len(self.slot) - len(fresh), None))

    def step(self) -> None:
        """Run the model on every active answer's last token and draw the next."""
        logits = decode(
            self.model,
            self.cache,
            self.prompt_length,
            self.slot,
            self.sample,
            self.token,
            self.written - 1,
        )
        self._draw(logits, slice(None))

    def retire(self) -> None:
        """Take out the answers that have ended; a slot whose answers have all ended is free again."""
        ended = torch.isin(self.token, self.stop) | self.stopped
        done = ended | (self.written >= self.how.max_completion_length)
        if not bool(done.any()):
            return
        self.length[self.request[done], self.sample[done]] = self.written[done]
        self.finished[self.request[done], self.sample[done]] = ended[done]
        for slot in self.slot[done].tolist():
            self.left[slot] -= 1
            if self.left[slot] == 0:
                self.free.append(slot)
        for name in ("request", "slot", "sample", "token", "written", "key", "stopped"):
            setattr(self, name, getattr(self, name)[~done])

    def answers(self) -> list[list[Sample]]:
        """What was written, by request and key."""
        return [
            [self._answer(i, j, n) for j, n in enumerate(row[: len(request.keys)])]
            for i, (request, row) in enumerate(zip(self.requests, self.length.tolist(), strict=True))
        ]

    def _answer(self, i: int, j: int, n: int) -> Sample:
        behavior = None if self.behavior_logp is None else self.behavior_logp[i, j, :n].numpy().copy()
        ids, logp = self.tokens[i, j, :n].numpy().copy(), self.logp[i, j, :n].numpy().copy()
        return Sample(ids, logp, bool(self.finished[i, j]), behavior)

    def _start(self, slots: Tensor, prompts: Sequence[Sequence[int]], vocabulary: int) -> None:
        if self.how.penalised:
            self.counts = self.counts or Counts(self.cache.slots, self.samples, vocabulary)
            ids = torch.tensor([token for prompt in prompts for token in prompt])
            self.counts.start(slots, slots.repeat_interleave(self.prompt_length[slots]), ids)
        if self.strings is not None:
            self.strings.start(slots)

    def _draw(self, logits: Tensor, where: slice) -> None:
        request, sample, written = self.request[where], self.sample[where], self.written[where]
        slot = self.slot[where]
        used = None if self.counts is None else self.counts.used(slot, sample)
        token, logp, behavior_logp = choose(logits, uniform(self.key[where], written), self.how, used)
        self.tokens[request, sample, written] = token
        self.logp[request, sample, written] = logp
        if self.behavior_logp is not None and behavior_logp is not None:
            self.behavior_logp[request, sample, written] = behavior_logp
        if self.counts is not None:
            self.counts.write(slot, sample, token)
        if self.strings is not None:
            self.stopped[where] = self.strings.write(slot, sample, token)
        self.token[where] = token
        self.written[where] += 1


def sample(
    model: nn.Module,
    requests: Sequence[Request],
    how: Sampling,
    *,
    stop: Sequence[int],
    slots: int = 64,
    tokenizer: Any = None,
) -> list[list[Sample]]:
    """Answer every request once per key: result[request][key].

    `stop` are the ids that end an answer, beside `how.stop_token_ids`; `slots` is how many prompts are in work at
    once; stop strings need the `tokenizer`. Beam search returns as many of the best beams as there are keys.
    """
    ends = torch.tensor([*stop, *how.stop_token_ids], dtype=torch.long)
    if how.stop and tokenizer is None:
        raise UserError("stop strings are found in text: sample(...) needs the tokenizer to find them")
    if not requests:
        return []
    with torch.no_grad():
        if how.num_beams > 1:
            return beam_search(model, requests, how, stop=ends, slots=slots)
        batch = _Batch(model, requests, how, ends, slots, tokenizer)
        with joined(model):
            while batch.waiting or len(batch.slot):
                # Prefilling a few prompts at a time costs a model call each: wait until a quarter is free.
                if batch.waiting and len(batch.free) * 4 >= batch.cache.slots:
                    batch.admit()
                else:
                    batch.step()
                batch.retire()
    return batch.answers()
