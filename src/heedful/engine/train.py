"""What every stage that learns from a fixed set of trees shares: order, schedule, `fit`, held-out means."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from heedful.data.packing import shuffled
from heedful.engine import ranks
from heedful.engine.batch import Packed, Tree, microbatches
from heedful.engine.checkpoint import Checkpoint
from heedful.engine.fit import Step, Term, fit
from heedful.engine.optim import Optimizer, OptimizerName, schedule
from heedful.engine.precision import Precision
from heedful.engine.recompute import recompute_layers
from heedful.engine.score import columns, device_of, use_packed_attention
from heedful.engine.stage import Stage, StageConfig
from heedful.errors import UserError
from heedful.losses import bind
from heedful.losses.bind import Loss


class TrainingConfig(StageConfig):
    """The settings of a stage that makes passes over data."""

    epochs: float = Field(1.0, gt=0)
    learning_rate: float = Field(1e-5, gt=0)
    optimizer: OptimizerName = "adamw"
    matrix_learning_rate: float = Field(0.02, gt=0)
    offload: bool = False
    weight_decay: float = Field(0.0, ge=0)
    lr_scheduler: Literal["constant", "linear", "cosine"] = "cosine"
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    max_grad_norm: float = Field(1.0, gt=0)
    tokens_per_step: int = Field(8192, gt=0)
    token_budget: int = Field(8192, gt=0)
    max_length: int = Field(512, gt=1)
    shuffle: bool = True
    precision: Precision = "auto"
    gradient_checkpointing: bool = False


Order = list[NDArray[np.int64]]


def plan(
    trees: Sequence[Tree], *, tokens_per_step: int, epochs: float, seed: int, shuffle: bool = True
) -> Order:
    """Which examples each step takes: epochs in a fresh order each (or the file's: a curriculum), cut into
    steps of about equal tokens.
    """
    n = len(trees)
    if n == 0:
        raise UserError("there is nothing to train on: the data file holds no usable example")
    total = round(n * epochs)
    epoch_orders = [shuffled(n, seed, e) if shuffle else np.arange(n) for e in range(-(-total // n))]
    order = np.concatenate(epoch_orders)[:total]
    ends = np.cumsum(np.asarray([t.size for t in trees])[order])
    step = (ends - 1) // tokens_per_step
    return np.split(order, np.flatnonzero(np.diff(step)) + 1)


Prepare = Callable[[Sequence[Tree], Sequence[int], int], Sequence[Tree]]
"""The trees of a step, their numbers and the step's -> the trees as they are trained on."""


def packed(
    trees: Sequence[Tree], order: Order, token_budget: int, prepare: Prepare | None = None, *, start: int = 0
) -> Iterator[list[Packed]]:
    """The micro-batches of each step from `start` on that this process computes."""
    for number, chosen in enumerate(order[start:], start):
        step: Sequence[Tree] = [trees[i] for i in chosen]
        ready = prepare(step, chosen.tolist(), number) if prepare else step
        own = ranks.share([t.size for t in ready])
        yield microbatches([ready[i] for i in own], token_budget)


def batches(
    trees: Sequence[Tree], *, tokens_per_step: int = 8192, epochs: float = 1.0, seed: int = 0
) -> Iterator[list[Packed]]:
    """Passes over trees in a fresh order each, as the steps that `fit` takes."""
    order = plan(trees, tokens_per_step=tokens_per_step, epochs=epochs, seed=seed)
    return packed(trees, order, max(t.size for t in trees) + tokens_per_step)


def train(
    stage: Stage,
    model: nn.Module,
    trees: Sequence[Tree],
    terms: Loss | Sequence[Term],
    config: TrainingConfig,
    *,
    watch: Mapping[str, Loss] | None = None,
    prepare: Prepare | None = None,
) -> Iterator[Step]:
    """Fit `model` to `trees`, resuming from the stage's newest checkpoint.

    `prepare` is handed each step's trees and their numbers when their turn comes, after the step before: what it
    computes with the model and gives them as labels is of the model as it is then. The step's number is what random
    changes hang on.
    """
    use_packed_attention(model)
    if config.gradient_checkpointing:
        recompute_layers(model)
    order = plan(
        trees,
        tokens_per_step=config.tokens_per_step,
        epochs=config.epochs,
        seed=config.seed,
        shuffle=config.shuffle,
    )
    for number, chosen in enumerate(order):
        if not any(trees[i].weight for i in chosen):
            raise UserError(f"step {number} has nothing to learn from: every example in it has weight 0")
    optimizer = new_optimizer(model, config)
    factor = schedule(config.lr_scheduler, steps=len(order), warmup=round(config.warmup_ratio * len(order)))

    def run(found: Checkpoint | None) -> Iterator[Step]:
        start = found.step if found else 0
        return fit(
            model,
            packed(trees, order, config.token_budget, prepare, start=start),
            terms,
            optimizer,
            watch=watch,
            learning_rate_factor=factor,
            max_grad_norm=config.max_grad_norm,
            start=start,
        )

    yield from stage.steps(run, model, optimizer, total=len(order))


def new_optimizer(model: nn.Module, config: Any) -> Optimizer:
    """The optimiser that a configuration describes."""
    return Optimizer(
        model,
        name=config.optimizer,
        learning_rate=config.learning_rate,
        matrix_learning_rate=config.matrix_learning_rate,
        weight_decay=config.weight_decay,
        offload=config.offload,
    )


def means(
    model: nn.Module, trees: Sequence[Tree], functions: Mapping[str, Loss], *, token_budget: int = 16384
) -> dict[str, float]:
    """The weighted mean of each function over all trees, without gradient."""
    use_packed_attention(model)
    sums, counts = dict.fromkeys(functions, 0.0), dict.fromkeys(functions, 0.0)
    names = {c for f in functions.values() for c in bind.columns(f)}
    for row in microbatches(trees, max(token_budget, max(t.size for t in trees))):
        packed = row.to(device_of(model))
        with torch.no_grad():
            values = columns(model, packed, names)
            for name, function in functions.items():
                weight = packed.weights[bind.unit(function)]
                sums[name] += float((bind.bind(function, values) * weight).sum())
                counts[name] += float(weight.sum())
    return {name: sums[name] / counts[name] for name in functions}
