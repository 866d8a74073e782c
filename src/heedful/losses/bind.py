"""A loss names the columns that it needs; here they are found and handed over.

The positional parameters of a loss are columns, its keyword-only parameters are hyper-parameters.
A column is either one value per trained token (`TOKEN`), per sequence (`SEQUENCE`) or per pair (`PAIR`); a prefix
makes another of it:

- `sequence_`: the quantity summed over each sequence;
- `chosen_`, `rejected_`: one value per pair, that of the sequence chosen or rejected (summed, if it is per token);
- `listed_`: one row per prompt, the values of its answers side by side (summed, if per token), zeros on the right;
  `listed_present` is 1 where there is an answer.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Literal

from torch import Tensor

Unit = Literal["token", "sequence", "pair", "group"]
Loss = Callable[..., Tensor]

TOKEN = frozenset(
    {"logp", "entropy", "ref_logp", "behavior_logp", "advantage", "value", "old_value", "returns"}
    | {"logits", "teacher_logits"}  # a row of the vocabulary each
    | {"step_score", "step_label"}
    | {"ref_kl"}  # over the whole vocabulary
)
SEQUENCE = frozenset({"score", "length", "present", "rank", "rating", "label", "best", "baseline"})
PAIR = frozenset({"strength", "probability"})
PREFIXES: Mapping[str, Unit] = {
    "chosen_": "pair",
    "rejected_": "pair",
    "sequence_": "sequence",
    "listed_": "group",
}


@cache
def columns(loss: Loss) -> tuple[str, ...]:
    """Return the names of the columns that `loss` needs, in order."""
    params = inspect.signature(loss).parameters.values()
    return tuple(p.name for p in params if p.kind is p.POSITIONAL_OR_KEYWORD)


def quantity(column: str) -> str:
    """Return what has to be computed for a column: `chosen_logp` needs `logp`."""
    return column.removeprefix(prefix(column))


def prefix(column: str) -> str:
    """Return the prefix of a column's name, or nothing."""
    return next((p for p in PREFIXES if column.startswith(p)), "")


@cache
def unit(loss: Loss) -> Unit:
    """Return what one value of `loss` stands for; mixing units in one loss is an error."""
    units: set[Unit] = set()
    for name in columns(loss):
        if quantity(name) not in TOKEN | SEQUENCE and name not in PAIR:
            raise ValueError(f"loss {loss} names the unknown column '{name}'")
        if found := prefix(name):
            units.add(PREFIXES[found])
        else:
            units.add("token" if name in TOKEN else "pair" if name in PAIR else "sequence")
    if len(units) != 1:
        raise ValueError(f"loss {loss} mixes units: {sorted(units)}")
    return units.pop()


def bind(loss: Loss, values: Mapping[str, Tensor]) -> Tensor:
    """Call `loss` with the columns it names."""
    return loss(*(values[name] for name in columns(loss)))
