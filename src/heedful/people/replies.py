"""What an annotator sends: answers named by the position in which they were shown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from heedful.data.store.rules import check_name, check_text
from heedful.errors import UserError


@dataclass(frozen=True, slots=True)
class FlagMark:
    """A flag for the answer at a position, or for the prompt."""

    label: str
    answer: int | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class OtherStep:
    """Another text for a step; `rating` and `chosen` as in `types.StepAlternative`."""

    step: int
    text: str
    rating: int | None = None
    written: bool = True
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """One submission's content; which fields it needs follows from the batch's question.

    `ratings` hold a mark from 1 to 7, or None, for each position by criterion; `order` tiers of positions, best
    first; `choices` -3 to 3 by criterion, above 0 where the first shown is better; `steps` labels up to the
    first -1; `plan` a position, or None for none of them.
    """

    ratings: Mapping[str, tuple[int | None, ...]] = field(default_factory=dict)
    order: tuple[tuple[int, ...], ...] = ()
    choices: Mapping[str, int] = field(default_factory=dict)
    steps: tuple[int, ...] = ()
    finish_reason: str = ""
    alternatives: tuple[OtherStep, ...] = ()
    text: str = ""
    plan: int | None = None
    flags: tuple[FlagMark, ...] = ()
    comment: str = ""

    @classmethod
    def parse(cls, given: Any) -> Self:
        """Read JSON; a UserError names the field that is wrong."""
        readers: dict[str, Callable[[Any, str], Any]] = {
            "ratings": _by_criterion(_sequence(_optional(_integer))),
            "order": _sequence(_sequence(_integer)),
            "choices": _by_criterion(_integer),
            "steps": _sequence(_integer),
            "finish_reason": _string,
            "alternatives": _sequence(_record(OtherStep)),
            "text": _string,
            "plan": _optional(_integer),
            "flags": _sequence(_record(FlagMark)),
            "comment": _string,
        }
        _known(given, readers, "The reply")
        return cls(**{name: readers[name](value, f"'{name}'") for name, value in given.items()})

    def moved(self, shown: Sequence[int]) -> Self:
        """The same reply with position p named `shown[p]`: from the order shown to the stored order."""
        turn = -1 if list(shown) == [1, 0] else 1
        return replace(
            self,
            ratings={name: _placed(row, shown) for name, row in self.ratings.items()},
            order=tuple(tuple(shown[position] for position in tier) for tier in self.order),
            choices={name: turn * choice for name, choice in self.choices.items()},
            plan=None if self.plan is None else shown[self.plan],
            flags=tuple(f if f.answer is None else replace(f, answer=shown[f.answer]) for f in self.flags),
        )

    def json(self) -> dict[str, Any]:
        """The fields that say something, as `parse` reads them."""
        empty = type(self)()
        found = {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.name == "plan" or getattr(self, each.name) != getattr(empty, each.name)
        }
        if self.plan is None:
            del found["plan"]
        for name in ("alternatives", "flags"):
            if name in found:
                found[name] = [asdict(one) for one in found[name]]
        for name in ("ratings", "choices"):
            if name in found:
                found[name] = {k: list(v) if isinstance(v, tuple) else v for k, v in found[name].items()}
        if "order" in found:
            found["order"] = [list(tier) for tier in found["order"]]
        if "steps" in found:
            found["steps"] = list(found["steps"])
        return found


def _placed(row: Sequence[int | None], shown: Sequence[int]) -> tuple[int | None, ...]:
    return tuple(row[shown.index(position)] for position in range(len(row)))


def _known(given: Any, names: Mapping[str, Any], what: str) -> None:
    if not isinstance(given, Mapping):
        raise UserError(f"{what} must be a JSON object, not {type(given).__name__}.")
    unknown = [name for name in given if name not in names]
    if unknown:
        raise UserError(
            f"{what} has a field {unknown[0]!r:.60}, which means nothing; use {', '.join(names)}."
        )


def _integer(value: Any, where: str) -> int:
    if type(value) is not int or abs(value) > 1_000_000:
        raise UserError(f"{where} must hold whole numbers, not {value!r:.60}.")
    return value


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where} must be text, not {type(value).__name__}.")
    if value.strip():
        check_text(value, where)
    return value


def _boolean(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise UserError(f"{where} must be true or false, not {value!r:.60}.")
    return value


def _optional(read: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    return lambda value, where: None if value is None else read(value, where)


def _sequence(read: Callable[[Any, str], Any]) -> Callable[[Any, str], tuple[Any, ...]]:
    def whole(value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > 1000:
            raise UserError(f"{where} must be a list of at most 1000, not {type(value).__name__}.")
        return tuple(read(one, where) for one in value)

    return whole


def _by_criterion(read: Callable[[Any, str], Any]) -> Callable[[Any, str], dict[str, Any]]:
    def whole(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, Mapping) or len(value) > 100:
            raise UserError(f"{where} must hold a value for each criterion, not {type(value).__name__}.")
        for name in value:
            check_name(name, "A criterion")
        return {name: read(one, f"{where} ({name})") for name, one in value.items()}

    return whole


def _record(kind: type[FlagMark] | type[OtherStep]) -> Callable[[Any, str], Any]:
    readers = {"step": _integer, "rating": _optional(_integer), "answer": _optional(_integer)}
    readers |= {"label": _string, "comment": _string, "text": _string}
    readers |= {"written": _boolean, "chosen": _boolean}

    def whole(value: Any, where: str) -> Any:
        names = {each.name: each for each in fields(kind)}
        _known(value, names, where)
        try:
            return kind(**{name: readers[name](one, f"{where}: '{name}'") for name, one in value.items()})
        except TypeError:
            raise UserError(f"{where} lacks one of {', '.join(names)}.") from None

    return whole
