"""The one training loop."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from heedful.engine.batch import Packed
from heedful.engine.foresight import Foresight
from heedful.engine.optim import Optimizer, grad_norm
from heedful.engine.score import columns, device_of, use_packed_attention
from heedful.errors import UserError
from heedful.losses import bind
from heedful.losses.bind import Loss


@dataclass(frozen=True)
class Term:
    """One part of an objective. Its sum is divided by the step's count of its unit (tokens, sequences, pairs)."""

    loss: Loss
    weight: float = 1.0


@dataclass(frozen=True)
class Step:
    """What one optimiser step did. `metrics` holds each term's and each watched function's mean."""

    number: int
    loss: float
    grad_norm: float
    tokens: int
    seconds: float
    metrics: Mapping[str, float]


def constant(step: int) -> float:
    return 1.0


def fit(
    model: nn.Module,
    batches: Iterable[Sequence[Packed]],
    terms: Loss | Sequence[Term],
    optimizer: Optimizer,
    *,
    watch: Mapping[str, Loss] | None = None,
    learning_rate_factor: Callable[[int], float] = constant,
    max_grad_norm: float = 1.0,
    start: int = 0,
) -> Iterator[Step]:
    """Take one optimiser step per batch and yield after each, so that the caller logs, evaluates and saves.

    A batch is a list of packed micro-batches. Every sum is divided by the count of the whole batch, known
    before its first backward, so that any split of the batch gives the same step. The next batch is pulled
    after the step: a generator that samples from `model` is on-policy by construction.
    Raises UserError when the loss is not finite or nothing is trained.
    """
    use_packed_attention(model)
    parts = [Term(terms)] if callable(terms) else list(terms)
    watch = watch or {}
    functions = {bind_name(t.loss): t.loss for t in parts} | dict(watch)
    names = {c for f in functions.values() for c in bind.columns(f)}
    foresight = Foresight(parts)
    for number, batch in enumerate(batches, start):
        began = time.perf_counter()
        units = {bind.unit(f) for f in functions.values()}
        counts = {u: sum(p.count(u) for p in batch) for u in units}
        present = {u: sum(p.present(u) for p in batch) for u in units}
        if any(present[bind.unit(t.loss)] == 0 for t in parts):
            raise UserError(
                f"step {number} has nothing to learn from: every mask is empty; look at the data with `heedful inspect`"
            )
        sums = dict.fromkeys(functions, 0.0)
        total = 0.0
        for row in batch:
            packed = row.to(device_of(model))
            values = columns(model, packed, names, foresight.of(packed, counts))
            objective = torch.zeros((), device=packed.ids.device)
            for name, function in functions.items():
                unit = bind.unit(function)
                term = next((t for t in parts if t.loss is function), None)
                divisor = (counts if term is not None else present)[unit]
                with torch.set_grad_enabled(term is not None):
                    value = (bind.bind(function, values) * packed.weights[unit]).sum() / divisor
                sums[name] += float(value.detach())
                if term is not None:
                    objective = objective + term.weight * value
            objective.backward()  # type: ignore[no-untyped-call]
            optimizer.collect()
            total += float(objective.detach())
        if not math.isfinite(total):
            raise UserError(
                f"the loss of step {number} is {total}: lower learning_rate, or look at the data with `heedful inspect`"
            )
        norm = grad_norm(optimizer.parameters, max_grad_norm)
        optimizer.scale(learning_rate_factor(number))
        optimizer.step()
        tokens = sum(p.layout.total for p in batch)
        yield Step(number, total, norm, tokens, time.perf_counter() - began, sums)


def bind_name(loss: Loss) -> str:
    """The name of a loss in the metrics; `functools.partial` is looked through."""
    inner = getattr(loss, "func", loss)
    return str(inner.__name__)
