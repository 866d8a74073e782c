"""Sampling: continuous batching over static slots, prompts computed once for all their answers."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from heedful.engine.beam import beam_search
from heedful.engine.choose import Counts, choose
from heedful.engine.compiled import compiled
from heedful.engine.grammar import Guided
from heedful.engine.randomness import uniform
from heedful.engine.sampling import Request, Sample, Sampling
from heedful.engine.slots import Slots
from heedful.engine.stops import StopStrings
from heedful.errors import UserError

__all__ = ["Request", "Sample", "Sampling", "choose", "sample"]


class _Batch:
    """The table of answers, and which of its cells each row of the slots writes."""

    def __init__(
        self,
        model: nn.Module,
        requests: Sequence[Request],
        how: Sampling,
        stop: Tensor,
        slots: int,
        tokenizer: Any,
    ) -> None:
        self.requests, self.how, self.stop = requests, how, stop
        samples = max((len(r.keys) for r in requests), default=0)
        self.waiting = [i for i, r in enumerate(requests) if r.keys][::-1]
        longest = max((len(r.prompt) for r in requests), default=0)
        slots = min(slots, len(requests))
        self.rows = Slots(model, slots, samples, longest, how.max_completion_length)
        self.request = torch.zeros(0, dtype=torch.long)
        self.stopped = torch.zeros(0, dtype=torch.bool)
        shape = (len(requests), samples)
        self.tokens = torch.zeros(*shape, how.max_completion_length, dtype=torch.long)
        self.logp = torch.zeros(*shape, how.max_completion_length)
        self.behavior_logp = torch.zeros_like(self.logp) if how.behavior_logp else None
        self.length = torch.zeros(shape, dtype=torch.long)
        self.finished = torch.zeros(shape, dtype=torch.bool)
        self.counts: Counts | None = None
        self.strings = StopStrings(tokenizer, how.stop, slots, samples) if how.stop else None
        self.guided = Guided(tokenizer, how.grammar, tuple(stop.tolist())) if how.grammar else None

    def admit(self) -> None:
        """Compute the prompts of waiting requests into free slots and draw their answers' first tokens."""
        new = [self.waiting.pop() for _ in range(min(len(self.rows.free), len(self.waiting)))]
        prompts = [self.requests[i].prompt for i in new]
        slots, logits = self.rows.join(prompts, [self.requests[i].keys for i in new])
        self._start(slots, prompts, logits.shape[-1])
        each = torch.tensor([len(self.requests[i].keys) for i in new])
        self.request = torch.cat([self.request, torch.tensor(new).repeat_interleave(each)])
        first = len(self.stopped)
        self.stopped = torch.cat([self.stopped, torch.zeros(int(each.sum()), dtype=torch.bool)])
        self._draw(logits.repeat_interleave(each, 0), slice(first, None))

    def step(self) -> None:
        """Run the model on every active answer's last token and draw the next."""
        self._draw(self.rows.step(), slice(None))

    def retire(self) -> None:
        """Take out the answers that have ended; a slot whose answers have all ended is free again."""
        rows = self.rows
        ended = torch.isin(rows.token, self.stop) | self.stopped
        done = ended | (rows.written >= self.how.max_completion_length)
        if not bool(done.any()):
            return
        self.length[self.request[done], rows.sample[done]] = rows.written[done]
        self.finished[self.request[done], rows.sample[done]] = ended[done]
        rows.leave(done)
        self.request, self.stopped = self.request[~done], self.stopped[~done]

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
            cache = self.rows.cache
            self.counts = self.counts or Counts(cache.slots, cache.samples, vocabulary)
            ids = torch.tensor([token for prompt in prompts for token in prompt])
            self.counts.start(slots, slots.repeat_interleave(self.rows.prompt_length[slots]), ids)
        if self.guided is not None:
            self.guided.start(slots)
        if self.strings is not None:
            self.strings.start(slots)

    def _draw(self, logits: Tensor, where: slice) -> None:
        rows = self.rows
        request, slot, sample, written = (
            x[where] for x in (self.request, rows.slot, rows.sample, rows.written)
        )
        used = None if self.counts is None else self.counts.used(slot, sample)
        bias = None if self.guided is None else self.guided.bias(slot, sample, logits.shape[-1])
        token, logp, behavior_logp = choose(logits, uniform(rows.key[where], written), self.how, used, bias)
        self.tokens[request, sample, written] = token
        self.logp[request, sample, written] = logp
        if self.behavior_logp is not None and behavior_logp is not None:
            self.behavior_logp[request, sample, written] = behavior_logp
        if self.counts is not None:
            self.counts.write(slot, sample, token)
        if self.guided is not None:
            self.guided.write(slot, sample, token)
        if self.strings is not None:
            self.stopped[where] = self.strings.write(slot, sample, token)
        rows.put(where, token)


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
    once; stop strings and a grammar need the `tokenizer`. Beam search returns as many of the best beams as there are
    keys.
    """
    ends = torch.tensor([*stop, *how.stop_token_ids], dtype=torch.long)
    if (how.stop or how.grammar) and tokenizer is None:
        raise UserError("stop strings and grammars are about text: sample(...) needs the tokenizer")
    if not requests:
        return []
    with torch.no_grad():
        if how.num_beams > 1:
            return beam_search(model, requests, how, stop=ends, slots=slots)
        batch = _Batch(model, requests, how, ends, slots, tokenizer)
        with compiled(model):
            while batch.waiting or len(batch.rows):
                # Prefilling a few prompts at a time costs a model call each: wait until a quarter is free.
                if batch.waiting and len(batch.rows.free) * 4 >= batch.rows.cache.slots:
                    batch.admit()
                else:
                    batch.step()
                batch.retire()
    return batch.answers()
