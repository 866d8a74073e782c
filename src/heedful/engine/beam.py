"""Beam search over the same slots as sampling: a prompt is stored once for its beams.

Scores and stopping are those of transformers' `generate`: a finished beam has the sum of its log-probs divided by
its length to the power of `length_penalty`; the search of a prompt ends when no running beam can still do better.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from heedful.engine.decode import Cache
from heedful.engine.forward import decode, prefill
from heedful.engine.sampling import Request, Sample, Sampling
from heedful.errors import UserError

_NEVER = -1e9  # finite, so that adding it to a score keeps the order of those that it is added to


class _Beams(NamedTuple):
    """Beams [R, K] of R prompts: tokens and their log-probs [R, K, T], score, length, and if a token ended it."""

    tokens: Tensor
    logp: Tensor
    score: Tensor
    length: Tensor
    stopped: Tensor

    @classmethod
    def empty(cls, prompts: int, beams: int, room: int) -> "_Beams":
        return cls(
            torch.zeros(prompts, beams, room, dtype=torch.long),
            torch.zeros(prompts, beams, room),
            torch.full((prompts, beams), _NEVER),
            torch.zeros(prompts, beams, dtype=torch.long),
            torch.zeros(prompts, beams, dtype=torch.bool),
        )

    def take(self, index: Tensor) -> "_Beams":
        """Of each prompt the beams at index [R, k]."""
        row = torch.arange(len(index))[:, None]
        return _Beams(*(column[row, index] for column in self))

    def of(self, rows: Tensor) -> "_Beams":
        """The beams of some prompts: numbers [A] or a mask [R]."""
        return _Beams(*(column[rows] for column in self))


def beam_search(
    model: nn.Module, requests: Sequence[Request], how: Sampling, *, stop: Tensor, slots: int
) -> list[list[Sample]]:
    """The best beams of every request, best first, as many as it has keys; `slots` prompts at once."""
    wanted = [len(r.keys) for r in requests]
    if max(wanted, default=0) > how.num_beams:
        raise UserError(
            f"{max(wanted)} answers are asked of a search with {how.num_beams} beams: raise num_beams"
        )
    found: list[list[Sample]] = []
    for start in range(0, len(requests), slots):
        best = _search(model, [r.prompt for r in requests[start : start + slots]], how, stop)
        for row in range(len(best.score)):
            n = wanted[start + row]
            found.append([_sample(best, row, beam) for beam in range(n)])
    return found


def _sample(beams: _Beams, row: int, beam: int) -> Sample:
    n = int(beams.length[row, beam])
    ids, logp = beams.tokens[row, beam, :n], beams.logp[row, beam, :n]
    return Sample(ids.numpy().copy(), logp.numpy().copy(), bool(beams.stopped[row, beam]))


def _search(model: nn.Module, prompts: Sequence[Sequence[int]], how: Sampling, stop: Tensor) -> _Beams:
    """The finished beams [R, K] of each prompt, best first."""
    beams, room = how.num_beams, how.max_completion_length
    prompt_length = torch.tensor([len(p) for p in prompts])
    cache = Cache(len(prompts), beams, int(prompt_length.max()), room)
    live = torch.arange(len(prompts))
    logits = prefill(model, cache, prompts, live).repeat_interleave(beams, 0)
    running, finished = (_Beams.empty(len(prompts), beams, room) for _ in range(2))
    running.score[:, 0] = 0  # all beams are the same before the first token: one of them may grow
    for written in range(room):
        if written:
            slot, sample = live.repeat_interleave(beams), torch.arange(beams).repeat(len(live))
            token = running.tokens[:, :, written - 1].flatten()
            before = torch.full_like(token, written - 1)
            logits = decode(model, cache, prompt_length, slot, sample, token, before)
        grown, source = _grown(running, logits, written, how, stop)
        ended = grown.stopped | (written + 1 == room)
        order = (grown.score + ended * _NEVER).topk(beams).indices
        running = grown._replace(score=grown.score + ended * _NEVER).take(order)
        kept = _finished(finished.of(live), grown, ended, how)
        for whole, part in zip(finished, kept, strict=True):
            whole[live] = part
        hopeful = _hopeful(running, kept, how)
        running, live = running.of(hopeful), live[hopeful]
        if not len(live):
            break
        _reorder(cache, live, source.gather(1, order)[hopeful], written)
    return finished


def _grown(
    running: _Beams, logits: Tensor, written: int, how: Sampling, stop: Tensor
) -> tuple[_Beams, Tensor]:
    """The best continuations by one token, so many that enough go on whatever ends; and the beams they grow from."""
    logp = logits.float().log_softmax(-1).cpu().view(*running.score.shape, -1)
    total = (logp + running.score[..., None]).flatten(1)
    vocabulary = logp.shape[-1]
    wanted = max(2, 1 + len(stop)) * how.num_beams
    score, index = total.topk(min(wanted, total.shape[1]))
    source, token = index // vocabulary, index % vocabulary
    grown = running.take(source)._replace(score=score, stopped=torch.isin(token, stop))
    grown.tokens[:, :, written] = token
    grown.logp[:, :, written] = logp.flatten(1).gather(1, index)
    return grown._replace(length=torch.full_like(token, written + 1)), source


def _finished(before: _Beams, grown: _Beams, ended: Tensor, how: Sampling) -> _Beams:
    """The best finished beams after those among the best `num_beams` continuations that have ended are added."""
    counted = ended & (torch.arange(ended.shape[1]) < how.num_beams)
    score = grown.score / grown.length**how.length_penalty + ~counted * _NEVER
    pairs = zip(before, grown._replace(score=score), strict=True)
    merged = _Beams(*(torch.cat(pair, 1) for pair in pairs))
    return merged.take(merged.score.topk(how.num_beams).indices)


def _hopeful(running: _Beams, finished: _Beams, how: Sampling) -> Tensor:
    """Which prompts' running beams can still beat their worst finished one."""
    length = running.length[:, 0]
    if how.early_stopping == "never" and how.length_penalty > 0:
        length = torch.full_like(length, how.max_completion_length)
    full = (finished.score > _NEVER / 2).all(1)
    better = running.score[:, 0] / length**how.length_penalty > finished.score.amin(1)
    return (~full | better) & ~(full & (how.early_stopping is True))


def _reorder(cache: Cache, slots: Tensor, source: Tensor, written: int) -> None:
    """Give each beam of `slots` [A] the answer keys and values of the beam that it grew from, source [A, K]."""
    beam = torch.arange(source.shape[1])
    if torch.equal(source, beam.expand_as(source)):
        return
    slot = slots[:, None]
    for layer in cache.answer.values():
        for held in layer:
            held[slot, :, beam, :written] = held[slot, :, source, :written]
