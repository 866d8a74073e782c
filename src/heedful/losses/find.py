"""A loss found by its name, and its settings: the keyword-only parameters of its function."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

from heedful.errors import UserError, nearest
from heedful.losses import listwise, preference, unpaired
from heedful.losses.bind import Loss

MODULES: tuple[ModuleType, ...] = (preference, unpaired, listwise)


def names() -> dict[str, Loss]:
    """Every loss that a policy can be trained with on judgements: the functions with settings of their own."""
    return {name: found for module in MODULES for name, found in _functions(module) if parameters(found)}


def _functions(module: ModuleType) -> Iterator[tuple[str, Loss]]:
    for name, found in vars(module).items():
        if inspect.isfunction(found) and found.__module__ == module.__name__:
            yield name, found


def parameters(loss: Loss) -> dict[str, inspect.Parameter]:
    """The settings of a loss by name."""
    found = inspect.signature(loss).parameters.values()
    return {p.name: p for p in found if p.kind is p.KEYWORD_ONLY}


def find(name: str) -> Loss:
    """The loss of that name; UserError names the nearest."""
    known = names()
    if name not in known:
        raise UserError(f"there is no loss '{name}'.{nearest(name, known)} Known: {', '.join(known)}.")
    return known[name]


def checked(
    loss: Loss, settings: Mapping[str, Any], *, what: str, beside: Iterable[str] = ()
) -> dict[str, Any]:
    """The settings of a loss with their defaults, each of the kind of its default; ValueError says what is wrong.

    `beside` are the names of other settings, one of which may have been meant.
    """
    known = parameters(loss)
    for name in settings:
        if name not in known:
            hint = nearest(name, [*known, *beside]) or f" Its settings: {', '.join(known) or 'none'}."
            raise ValueError(f"loss {what} has no setting '{name}'.{hint}")
    return {name: _of_kind(name, settings.get(name, p.default), p.default) for name, p in known.items()}


def _of_kind(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError(
        f"{name}={value!r} is not {'true or false' if isinstance(default, bool) else 'a number'}"
    )
