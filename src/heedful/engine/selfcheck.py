"""The laws of the engine, checked on one model: packing, sharing, sampling and resuming change nothing.

What a model computes is compared with what transformers computes for each sequence alone, before anything of ours
touches the model. Gradients are compared by samples of their entries, so that memory is that of the weights and
one set of gradients.
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationConfig

from heedful.engine import checkpoint
from heedful.engine.batch import Ids, Node, Packed, Tree, answer_node, collate, plain, prompt_node
from heedful.engine.fit import fit
from heedful.engine.optim import Optimizer
from heedful.engine.randomness import key, uniform
from heedful.engine.recompute import recompute_layers
from heedful.engine.sample import Request, Sample, Sampling, choose, sample
from heedful.engine.score import logits, sequence_columns, use_packed_attention
from heedful.errors import UserError
from heedful.losses.supervised import next_token

LOGITS, LOSS, GRADIENT, LOGP = 1e-4, 1e-5, 1e-4, 1e-4
"""How far fp32 rounding may take logits, losses, gradients (relative) and log-probs of single tokens."""

TEXTS = (33, 5, 21, 14)
SHAPES = ((24, (3, 9, 5)), (6, (8, 1, 12)))
WRITTEN = 12
_ENTRIES = 1 << 16
_SMALL = 50_000_000
_DRAWS = 64


@dataclass(frozen=True)
class Finding:
    """What checking one law showed. `of` is the number of answers compared where the difference is a count;
    `ties` are answers that differ by rounding alone. `difference` is None where the model lacks what is checked.
    """

    law: str
    difference: float | None
    tolerance: float
    of: int = 0
    ties: int = 0

    @property
    def passed(self) -> bool:
        return self.difference is None or self.difference <= self.tolerance


@dataclass(frozen=True)
class Result:
    """What a model computes for trees: logits that predict the trained tokens, mean loss, sampled gradient."""

    logits: Tensor
    loss: float
    gradient: Tensor


def check(model: Any, write: Callable[[int], Ids], seed: int = 0) -> Iterator[Finding]:
    """Check every law on a causal language model in fp32, which is used up; `write(n)` gives n tokens of text.

    Raises UserError for an architecture that the engine refuses and for weights that give no finite loss.
    """
    texts = [plain(write(n)) for n in TEXTS]
    trees = [
        Tree(prompt_node(write(n)), tuple(answer_node(write(b)) for b in branches)) for n, branches in SHAPES
    ]
    prompts = [write(n) for n in (12, 3, 19)]
    stop = stop_ids(model)
    alone = {"packed": _alone(model, texts), "tree": _alone(model, trees)}
    generated = [_generated(model, prompt, stop) for prompt in prompts]
    use_packed_attention(model)
    for name, given in (("packed", texts), ("tree", trees)):
        yield from _same(name, _together(model, [given]), alone[name])
    mixed = [*texts, *trees]
    whole = _together(model, [mixed])
    yield from _same("accumulated", _together(model, [[tree] for tree in mixed]), whole)
    yield _recomputed(model, mixed, whole)
    requests = [
        Request(p.tolist(), tuple(key("selfcheck", seed, i, j) for j in range(3)))
        for i, p in enumerate(prompts)
    ]
    yield from _sampled(model, requests, stop)
    yield _greedy(model, prompts, generated, stop)
    yield _resumed(model, [collate(texts)], [collate(trees)])


def stop_ids(model: Any) -> list[int]:
    """The tokens that end the model's texts, by its own configuration."""
    found = model.generation_config.eos_token_id
    if found is None:
        found = model.config.get_text_config().eos_token_id
    return [] if found is None else [found] if isinstance(found, int) else list(found)


def largest(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest expected value where that is above 1."""
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1.0))


def sampled_gradient(model: nn.Module) -> Tensor:
    """At most 65,536 evenly spaced entries of every parameter's gradient."""
    parts = []
    for parameter in model.parameters():
        flat = (torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).flatten()
        parts.append(flat[:: -(-len(flat) // _ENTRIES)].float().clone())
    return torch.cat(parts)


class _Still(Optimizer):
    """An optimiser that keeps a sample of the gradient and changes nothing."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, learning_rate=0.0)
        self.model = model

    def step(self) -> None:
        self.gradient = sampled_gradient(self.model)
        self.model.zero_grad()


def _paths(tree: Tree) -> Iterator[tuple[Tensor, Tensor]]:
    """Ids of each root-to-leaf path, and the places of its trained tokens."""
    paths: list[list[Node]] = [[tree.prompt, b] for b in tree.branches] or [[tree.prompt]]
    for path in paths:
        trained = np.flatnonzero(np.concatenate([n.trained for n in path]))
        yield torch.from_numpy(np.concatenate([n.ids for n in path])), torch.from_numpy(trained)


def _alone(model: Any, trees: Sequence[Tree]) -> Result:
    """Every path by itself, with the model's own attention and without our code."""
    paths = [path for tree in trees for path in _paths(tree)]
    count = sum(len(trained) for _, trained in paths)
    found, loss = [], 0.0
    for ids, trained in paths:
        z = model(ids[None].to(model.device), use_cache=False).logits[0].cpu().float()[trained - 1]
        part = F.cross_entropy(z, ids[trained], reduction="sum") / count
        part.backward()  # type: ignore[no-untyped-call]
        loss += float(part.detach())
        found.append(z.detach())
    if not math.isfinite(loss):
        raise UserError(f"the model's loss on ordinary tokens is {loss}: its weights are damaged")
    gradient = sampled_gradient(model)
    model.zero_grad()
    return Result(torch.cat(found), loss, gradient)


def _together(model: Any, split: Sequence[Sequence[Tree]]) -> Result:
    """One step of the training loop over micro-batches, each a packed row."""
    rows = [collate(trees) for trees in split]
    optimizer = _Still(model)
    [step] = fit(model, [rows], next_token, optimizer, max_grad_norm=float("inf"))
    with torch.no_grad():
        z = torch.cat([logits(model, row, row.rows).cpu().float() for row in rows])
    return Result(z, step.loss, optimizer.gradient)


def _same(name: str, found: Result, expected: Result) -> Iterator[Finding]:
    yield Finding(f"{name}_logits", largest(found.logits, expected.logits), LOGITS)
    yield Finding(f"{name}_loss", abs(found.loss - expected.loss) / max(1.0, expected.loss), LOSS)
    yield Finding(f"{name}_gradient", _apart(found.gradient, expected.gradient), GRADIENT)


def _apart(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(torch.finfo(torch.float32).tiny))


def _recomputed(model: Any, trees: Sequence[Tree], expected: Result) -> Finding:
    law = "checkpointing_gradient"
    try:
        recompute_layers(model)
    except UserError:
        return Finding(law, None, GRADIENT)
    found = _together(model, [trees])
    model.eval()
    return Finding(law, _apart(found.gradient, expected.gradient), GRADIENT)


def _sampled(model: Any, requests: Sequence[Request], stop: Sequence[int]) -> Iterator[Finding]:
    """Log-probs of sampled tokens against a fresh forward's, and each answer against the same drawn alone."""
    how = Sampling(WRITTEN)
    crowd = sample(model, requests, how, stop=stop, slots=2)
    trees = [
        Tree(prompt_node(r.prompt), tuple(answer_node(s.ids) for s in row))
        for r, row in zip(requests, crowd, strict=True)
    ]
    fresh = torch.cat([logp for row in sequence_columns(model, trees, "logp") for logp in row])
    drawn = torch.from_numpy(np.concatenate([s.logp for row in crowd for s in row]))
    yield Finding("sampled_logp", float((drawn - fresh).abs().max()), LOGP)
    differ = ties = 0
    for request, row in zip(requests, crowd, strict=True):
        for one, k in zip(row, request.keys, strict=True):
            [[by_itself]] = sample(model, [Request(request.prompt, (k,))], how, stop=stop)
            verdict = _verdict(model, request.prompt, one.ids, by_itself.ids, how, k)
            differ, ties = differ + (verdict is False), ties + (verdict is None)
    yield Finding("crowd", differ, 0, of=len(requests) * len(requests[0].keys), ties=ties)


def _greedy(model: Any, prompts: Sequence[Ids], expected: Sequence[Ids], stop: Sequence[int]) -> Finding:
    how = Sampling(WRITTEN, temperature=0)
    rows: list[list[Sample]] = sample(model, [Request(p.tolist(), (0,)) for p in prompts], how, stop=stop)
    verdicts = [
        _verdict(model, p, row[0].ids, ids, how, 0)
        for p, row, ids in zip(prompts, rows, expected, strict=True)
    ]
    return Finding("greedy", verdicts.count(False), 0, of=len(prompts), ties=verdicts.count(None))


def _generated(model: Any, prompt: Ids, stop: Sequence[int]) -> Ids:
    """The greedy continuation by transformers."""
    ids = torch.from_numpy(prompt)[None].to(model.device)
    own, model.generation_config = model.generation_config, GenerationConfig()
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=WRITTEN,
        eos_token_id=list(stop) or None,
        pad_token_id=0,
    )
    model.generation_config = own
    found: Ids = out[0, len(prompt) :].cpu().numpy()
    return found


def _verdict(
    model: Any, prompt: Sequence[int] | Ids, one: Ids, other: Ids, how: Sampling, k: int
) -> bool | None:
    """True if two answers are the same, None if they part at a rounding tie, False if they differ otherwise.

    A tie is shown to be one: where they part, noise as small as rounding makes the sampler choose either token.
    """
    shared = min(len(one), len(other))
    parted = np.flatnonzero(one[:shared] != other[:shared])
    if not len(parted):
        return len(one) == len(other)
    at = int(parted[0])
    row = collate([plain(np.concatenate([np.asarray(prompt, dtype=np.int64), one[:at]]))])
    with torch.no_grad():
        z = logits(model, row, torch.tensor([row.layout.total - 1])).cpu().float()
    noise = torch.rand(_DRAWS, z.shape[1], generator=torch.Generator().manual_seed(0)) * 2 - 1
    u = uniform(torch.tensor([k]), torch.tensor([at])).expand(_DRAWS).contiguous()
    tokens = choose(z + noise * LOGITS * z.abs().max().clamp_min(1.0), u, how)[0].tolist()
    return None if {int(one[at]), int(other[at])} <= set(tokens) else False


def _resumed(model: Any, first: list[Packed], second: list[Packed]) -> Finding:
    """Two steps, against one step, a checkpoint, a death and the other step: bit for bit.

    Of a large model one layer alone learns, which bounds memory and disk.
    """
    part = model
    if sum(p.numel() for p in model.parameters()) > _SMALL:
        part = max((m for m in model.modules() if isinstance(m, nn.ModuleList)), key=len)[-1]
    inside = {id(p) for p in part.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in inside)
    optimizer = Optimizer(part, learning_rate=1e-3)
    with tempfile.TemporaryDirectory() as name:
        for step in fit(model, [first, second], next_token, optimizer):
            if step.number == 0:
                checkpoint.save(Path(name), 1, part, optimizer, {})
        expected = [p.detach().clone() for p in part.parameters()]
        found = checkpoint.latest(Path(name))
    assert found is not None
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.zero_()
    fresh = Optimizer(part, learning_rate=1e-3)
    found.restore(part, fresh)
    list(fit(model, [second], next_token, fresh, start=found.step))
    gaps = [float((p.detach() - e).abs().max()) for p, e in zip(part.parameters(), expected, strict=True)]
    return Finding("resumed", max(gaps), 0.0)
