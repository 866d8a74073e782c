"""A loss names the columns that it needs; here they are found and handed over.

The positional parameters of a loss are columns, its keyword-only parameters are hyper-parameters.
A column is either one value per trained token (`TOKEN`), per sequence (`SEQUENCE`), or, when its name
starts with `chosen_` or `rejected_`, one value per pair: that quantity summed over the sequence chosen
or rejected.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Literal

from torch import Tensor

Unit = Literal["token", "sequence", "pair"]
Loss = Callable[..., Tensor]

TOKEN = frozenset(
    {"logp", "entropy", "ref_logp", "behavior_logp", "advantage", "value", "old_value", "returns"}
    | {"logits", "teacher_logits"}  # a row of the vocabulary each
)
SEQUENCE = frozenset({"score"})
PAIR_PREFIXES = ("chosen_", "rejected_")


@cache
def columns(loss: Loss) -> tuple[str, ...]:
    """Return the names of the columns that `loss` needs, in order."""
    params = inspect.signature(loss).parameters.values()
    return tuple(p.name for p in params if p.kind is p.POSITIONAL_OR_KEYWORD)


def quantity(column: str) -> str:
    """Return what has to be computed for a column: `chosen_logp` needs `logp`."""
    for prefix in PAIR_PREFIXES:
        column = column.removeprefix(prefix)
    return column


@cache
def unit(loss: Loss) -> Unit:
    """Return what one value of `loss` stands for; mixing units in one loss is an error."""
    units: set[Unit] = set()
    for name in columns(loss):
        if quantity(name) not in TOKEN | SEQUENCE:
            raise ValueError(f"loss {loss} names the unknown column '{name}'")
        if name.startswith(PAIR_PREFIXES):
            units.add("pair")
        else:
            units.add("token" if name in TOKEN else "sequence")
    if len(units) != 1:
        raise ValueError(f"loss {loss} mixes units: {sorted(units)}")
    return units.pop()


def bind(loss: Loss, values: Mapping[str, Tensor]) -> Tensor:
    """Call `loss` with the columns it names."""
    return loss(*(values[name] for name in columns(loss)))
