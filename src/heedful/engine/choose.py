"""From logits to tokens: penalties, truncation, and one draw a row by inverse CDF."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from heedful.engine.kernels import choose as kernel
from heedful.engine.kernels import library
from heedful.engine.sampling import Sampling

_BLOCK = 128


class Used(NamedTuple):
    """What penalties depend on: counts [B, V] of the answer's tokens, and whether the prompt has each token."""

    counts: Tensor
    in_prompt: Tensor


class Chosen(NamedTuple):
    """Ids [B], the model's log-probs of them [B], and where asked for those that they were drawn with [B]."""

    token: Tensor
    logp: Tensor
    behavior_logp: Tensor | None


def choose(
    logits: Tensor, uniforms: Tensor, how: Sampling, used: Used | None = None, bias: Tensor | None = None
) -> Chosen:
    """Pick one token per row of logits [B, V] from uniforms [B]; penalties need `used`; `bias` [B, V] is added.

    It is done where the logits lie; what is chosen is handed out on the CPU, where answers are kept.
    """
    uniforms = uniforms.to(logits.device)
    used = None if used is None else Used(*(x.to(logits.device) for x in used))
    bias = None if bias is None else bias.to(logits.device)
    found = _choose(logits.float(), uniforms, how, used, bias)
    behavior = None if found.behavior_logp is None else found.behavior_logp.cpu()
    return Chosen(found.token.cpu(), found.logp.cpu(), behavior)


def _choose(
    logits: Tensor, uniforms: Tensor, how: Sampling, used: Used | None, bias: Tensor | None
) -> Chosen:
    changed = logits if used is None else penalise(logits, how, used)
    changed = changed if bias is None else changed + bias
    built = library.built()
    if built is not None and kernel.takes(logits):
        token, logp, under = kernel.draw(built, logits, changed, uniforms, [how] * len(logits))
        return Chosen(token, logp, under if how.behavior_logp else None)
    if how.temperature == 0:
        token = changed.argmax(-1)
        logp = _of(logits.log_softmax(-1), token)
        return Chosen(token, logp, torch.zeros_like(logp) if how.behavior_logp else None)
    logp = _tempered(logits, how)
    p = truncate((logp if changed is logits else _tempered(changed, how)).exp(), how)
    token = draw(p, uniforms)
    behavior = (_of(p, token) / p.sum(-1)).log() if how.behavior_logp else None
    return Chosen(token, _of(logp, token), behavior)


def choose_each(logits: Tensor, uniforms: Tensor, hows: Sequence[Sampling]) -> Tensor:
    """One token per row of fp32 logits [B, V], each in its own way; penalties are not looked at."""
    built = library.built()
    if built is not None and kernel.takes(logits):
        return kernel.draw(built, logits, logits, uniforms, hows)[0]
    token = torch.empty(len(hows), dtype=torch.long)
    for how, members in alike(hows).items():
        index = torch.tensor(members)
        token[index] = choose(logits[index], uniforms[index], how).token
    return token


def alike(hows: Sequence[Sampling]) -> dict[Sampling, list[int]]:
    """The rows of equal settings."""
    found: dict[Sampling, list[int]] = {}
    for row, how in enumerate(hows):
        found.setdefault(how, []).append(row)
    return found


def penalise(logits: Tensor, how: Sampling, used: Used) -> Tensor:
    """Logits [B, V] under the repetition (Keskar et al. 2019), frequency and presence penalties."""
    if how.repetition_penalty != 1:
        seen = used.in_prompt | (used.counts > 0)
        by = how.repetition_penalty
        logits = torch.where(seen, torch.where(logits < 0, logits * by, logits / by), logits)
    if how.frequency_penalty:
        logits = logits - how.frequency_penalty * used.counts
    if how.presence_penalty:
        logits = logits - how.presence_penalty * (used.counts > 0)
    return logits


def truncate(p: Tensor, how: Sampling) -> Tensor:
    """Probabilities [B, V] with zeros for the tokens that top-k, nucleus and min-p drop; not renormalised."""
    if how.top_k:
        kept = p.topk(min(how.top_k, p.shape[-1]), -1).values[:, -1:]
        p = p.masked_fill(p < kept, 0.0)
    if how.top_p < 1:
        ordered, order = p.sort(-1, descending=True)
        before = ordered.cumsum(-1) - ordered
        dropped = before >= how.top_p * p.sum(-1, keepdim=True)
        p = p.masked_fill(torch.zeros_like(dropped).scatter(-1, order, dropped), 0.0)
    if how.min_p:
        p = p.masked_fill(p < how.min_p * p.amax(-1, keepdim=True), 0.0)
    return p


def draw(p: Tensor, uniforms: Tensor) -> Tensor:
    """The token of each row of p [B, V], not necessarily normalised, at which the CDF passes u [B] in [0, 1).

    The CDF is summed in blocks, which rounds differently from a running sum. Where the outcome could depend on
    that, the row is drawn again by the running sum, so the token is always the running sum's.
    """
    if p.shape[-1] < 2 * _BLOCK:
        return _by_running_sum(p, uniforms)
    token, sure = _by_blocks(p, uniforms)
    if not bool(sure.all()):
        token[~sure] = _by_running_sum(p[~sure], uniforms[~sure])
    return token


def _by_running_sum(p: Tensor, uniforms: Tensor) -> Tensor:
    cdf = p.cumsum(-1, dtype=torch.float64)
    token = torch.searchsorted(cdf, uniforms[:, None] * cdf[:, -1:], right=True)[:, 0]
    # Rounding may place u just past the last token with any mass.
    last = (p > 0).long().mul(torch.arange(p.shape[-1], device=p.device)).amax(-1)
    return torch.minimum(token, last)


def _by_blocks(p: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens, and whether each is certain to be the one that any order of summation gives."""
    size = p.shape[-1]
    whole = size - size % _BLOCK
    sums = p[:, :whole].view(len(p), whole // _BLOCK, _BLOCK).sum(-1, dtype=torch.float64)
    if whole < size:
        sums = torch.cat([sums, p[:, whole:].sum(-1, keepdim=True, dtype=torch.float64)], -1)
    ends = sums.cumsum(-1)
    target = uniforms[:, None] * ends[:, -1:]
    block = torch.searchsorted(ends, target, right=True).clamp_max(ends.shape[-1] - 1)
    before = ends.gather(-1, block) - sums.gather(-1, block)
    index = block * _BLOCK + torch.arange(_BLOCK, device=p.device)
    cells = p.gather(-1, index.clamp_max(size - 1)).masked_fill(index >= size, 0.0)
    edges = torch.cat([before, before + cells.cumsum(-1, dtype=torch.float64)], -1)
    inside = torch.searchsorted(edges[:, 1:].contiguous(), target, right=True).clamp_max(_BLOCK - 1)
    near = torch.cat([edges.gather(-1, inside), edges.gather(-1, inside + 1)], -1) - target
    # A sum of n positive terms is off by at most n 2^-53 of itself, whatever the order; two sums and their
    # target are compared here.
    margin = size * 2.0**-50 * ends[:, -1:]
    return (block * _BLOCK + inside)[:, 0], (near.abs() > margin).all(-1)


def _tempered(logits: Tensor, how: Sampling) -> Tensor:
    return (logits if how.temperature == 1 else logits / how.temperature).log_softmax(-1)


def _of(values: Tensor, token: Tensor) -> Tensor:
    return values.gather(-1, token[:, None])[:, 0]


class Counts:
    """Which tokens the prompts and answers in static slots have: counts [slots, samples, V]."""

    def __init__(self, slots: int, samples: int, vocabulary: int) -> None:
        self.counts = torch.zeros(slots, samples, vocabulary, dtype=torch.int32)
        self.in_prompt = torch.zeros(slots, vocabulary, dtype=torch.bool)

    def start(self, slots: Tensor, prompt_slot: Tensor, prompt_ids: Tensor) -> None:
        """Put new prompts into `slots`; prompt_slot and prompt_ids [T] are their tokens laid end to end."""
        self.counts[slots] = 0
        self.in_prompt[slots] = False
        self.in_prompt[prompt_slot, prompt_ids] = True

    def used(self, slot: Tensor, sample: Tensor) -> Used:
        return Used(self.counts[slot, sample], self.in_prompt[slot])

    def write(self, slot: Tensor, sample: Tensor, token: Tensor) -> None:
        self.counts[slot, sample, token] += 1
