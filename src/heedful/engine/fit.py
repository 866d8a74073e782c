"""The one training loop."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from heedful.engine import ranks
from heedful.engine.batch import Packed
from heedful.engine.foresight import Foresight
from heedful.engine.optim import Stepping
from heedful.engine.score import columns, device_of, use_packed_attention
from heedful.errors import UserError
from heedful.losses import bind
from heedful.losses.bind import Loss


@dataclass(frozen=True)
class Term:
    """One part of an objective. Its sum is divided by the step's count of its unit (tokens, sequences, pairs).

    It is for the rows of its `stream` alone, and divided by their count: texts beside rollouts, say. A `weight` that
    is a function is asked at every step.
    """

    loss: Loss
    weight: float | Callable[[], float] = 1.0
    stream: str = ""

    @property
    def name(self) -> str:
        """Its name in the metrics."""
        return f"{self.stream}/{bind_name(self.loss)}" if self.stream else bind_name(self.loss)

    @property
    def now(self) -> float:
        """Its weight in this step."""
        return self.weight() if callable(self.weight) else self.weight


@dataclass(frozen=True)
class Step:
    """What one optimiser step did. `metrics` holds each term's and each watched function's mean."""

    number: int
    loss: float
    grad_norm: float
    tokens: int
    seconds: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class _Part:
    """A term that is learnt, or a function that is only watched, under its name in the metrics."""

    name: str
    term: Term
    learnt: bool

    @property
    def unit(self) -> bind.Unit:
        return bind.unit(self.term.loss)

    def divisor(self, batch: Sequence[Packed]) -> float:
        """What its sum over the batch is divided by: watched means are of what is there."""
        rows = [p for p in batch if p.stream == self.term.stream]
        return sum(p.count(self.unit) if self.learnt else p.present(self.unit) for p in rows)


def _parts(terms: Sequence[Term], watch: Mapping[str, Loss]) -> list[_Part]:
    learnt = [_Part(t.name, t, True) for t in terms]
    names = {part.name for part in learnt}
    return learnt + [_Part(name, Term(f), False) for name, f in watch.items() if name not in names]


def constant(step: int) -> float:
    return 1.0


def fit(
    model: nn.Module,
    batches: Iterable[Sequence[Packed]],
    terms: Loss | Sequence[Term],
    optimizer: Stepping,
    *,
    watch: Mapping[str, Loss] | None = None,
    learning_rate_factor: Callable[[int], float] = constant,
    max_grad_norm: float = 1.0,
    start: int = 0,
) -> Iterator[Step]:
    """Take one optimiser step per batch and yield after each, so that the caller logs, evaluates and saves.

    A batch is a list of packed micro-batches. Every sum is divided by the count of the whole batch, known
    before its first backward, so that any split of the batch gives the same step. The next batch is pulled
    after the step: a generator that samples from `model` is on-policy by construction. Where several processes
    train, each has its own part of the batch (`engine.ranks`), and all take the step of the whole.
    Raises UserError when the loss is not finite or nothing is trained.
    """
    use_packed_attention(model)
    parts = _parts([Term(terms)] if callable(terms) else terms, watch or {})
    foresight = Foresight()
    for number, batch in enumerate(batches, start):
        began = time.perf_counter()
        here = [sum(p.layout.total for p in batch), *(part.divisor(batch) for part in parts)]
        tokens, *divisors = ranks.totals(here)
        if any(part.learnt and not divisor for part, divisor in zip(parts, divisors, strict=True)):
            raise UserError(
                f"step {number} has nothing to learn from: every mask is empty; look at the data with `heedful inspect`"
            )
        weights = [part.term.now if part.learnt else 0.0 for part in parts]
        sums = {part.name: 0.0 for part in parts}
        total = 0.0
        for row in batch:
            packed = row.to(device_of(model))
            every = zip(parts, weights, divisors, strict=True)
            mine = [(p, weight, divisor) for p, weight, divisor in every if p.term.stream == row.stream]
            names = {c for p, _, _ in mine for c in bind.columns(p.term.loss)}
            learnt = [(p.term.loss, weight / divisor) for p, weight, divisor in mine if p.learnt]
            values = columns(model, packed, names, foresight.of(packed, learnt))
            objective = torch.zeros((), device=packed.ids.device)
            for part, weight, divisor in mine:
                with torch.set_grad_enabled(part.learnt):
                    value = (bind.bind(part.term.loss, values) * packed.weights[part.unit]).sum() / divisor
                sums[part.name] += float(value.detach())
                if part.learnt:
                    objective = objective + weight * value
            objective.backward()  # type: ignore[no-untyped-call]
            optimizer.collect()
            total += float(objective.detach())
        total, *means = ranks.totals([total, *sums.values()])
        if not math.isfinite(total):
            raise UserError(
                f"the loss of step {number} is {total}: lower learning_rate, or look at the data with `heedful inspect`"
            )
        ranks.add_gradients(optimizer.parameters)
        norm = optimizer.clip(max_grad_norm)
        optimizer.scale(learning_rate_factor(number))
        optimizer.step()
        metrics = dict(zip(sums, means, strict=True))
        yield Step(number, total, norm, int(tokens), time.perf_counter() - began, metrics)


def bind_name(loss: Loss) -> str:
    """The name of a loss in the metrics; `functools.partial` is looked through."""
    inner = getattr(loss, "func", loss)
    return str(inner.__name__)
