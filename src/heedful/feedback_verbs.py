"""The verbs of `heedful feedback`: figures, files, copies, people. Without one of them it is the stage."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from heedful import settings
from heedful.data.store import wild
from heedful.data.store.records import Where
from heedful.data.store.store import Store
from heedful.people import backup, exports, imports, standing
from heedful.people.labels import Aggregate
from heedful.people.printed import printed
from heedful.people.statistics import statistics


class _Words(BaseModel):
    """What every verb takes: the store's file or URL."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str


class Stats(_Words):
    """Figures about judgements; `json=true` prints JSON."""

    batch: str | None = None
    round: int | None = None
    criterion: str | None = None
    resamples: int = 200
    seed: int = 0
    json_: bool = Field(False, alias="json")


class Export(_Words):
    """Judgements to a file, and beside it a manifest whose `as_of` makes it again."""

    path: Path
    format: exports.Format = "preference"
    aggregate: Aggregate = "none"
    batch: str | None = None
    round: int | None = None
    criterion: str | None = None
    qualified: bool | None = None
    annotators: tuple[str, ...] | None = None
    after: int | None = None
    as_of: int | None = None


class Import(_Words):
    """Judgements from a file; `annotator` and `policy` are names for those that it does not name."""

    path: Path
    format: imports.Source = "preference"
    annotator: str = ""
    policy: str = ""
    round: int = 0


class Backup(_Words):
    """The store as one SQLite file at `path`, checked, while others work on it."""

    path: Path


class Restore(_Words):
    """What the backup `path` holds as a new store."""

    path: Path


class Pause(_Words):
    """An annotator gets nothing to judge from now on; they are told the `reason`."""

    name: str
    reason: str = ""


class Resume(_Words):
    """A paused annotator may go on."""

    name: str


class Forget(_Words):
    """An annotator's name and remarks are removed; their judgements stay."""

    name: str


class Everybody(_Words):
    """Who may judge, and why; `json=true` prints every figure."""

    json_: bool = Field(False, alias="json")


def run(verb: str, words: list[str]) -> str:
    """Run `heedful feedback VERB key=value ...` and return what to print."""
    kind, act = VERBS[verb]
    return act(settings.build(kind, settings.parse(words), what=f"feedback {verb}"))


def _open(given: _Words) -> Store:
    return Store.open(given.store, create=False)


def _stats(given: Stats) -> str:
    with _open(given) as store:
        found = statistics(
            store,
            batch=given.batch,
            round=given.round,
            criterion=given.criterion,
            resamples=given.resamples,
            seed=given.seed,
        )
    return _json(found.json()) if given.json_ else printed(found)


def _export(given: Export) -> str:
    where: Where = {}
    for name in ("batch", "round", "criterion", "qualified", "annotators", "after", "as_of"):
        if (value := getattr(given, name)) is not None:
            where[name] = value
    with _open(given) as store:
        made = exports.export(store, given.path, given.format, aggregate=given.aggregate, **where)
    return (
        f"{made.rows} rows of {made.judgements} judgements -> {given.path}; as_of={made.as_of} makes it again "
        f"(SHA-256 {made.sha256})"
    )


def _import(given: Import) -> str:
    with Store.open(given.store) as store:
        found = imports.import_file(
            store, given.path, given.format, annotator=given.annotator, round=given.round, policy=given.policy
        )
    skipped = "".join(f"; {n} rows left out: {reason}" for reason, n in found.skipped.items())
    return f"{found.events} new events, {found.prompts} new prompts, {found.answers} new answers{skipped}"


def _backup(given: Backup) -> str:
    with _open(given) as store:
        last = backup.backup(store, given.path)
    return f"{last} events -> {given.path}, checked"


def _restore(given: Restore) -> str:
    last = backup.restore(given.path, given.store)
    return f"{last} events -> {given.store}"


def _forget(given: Forget) -> str:
    with _open(given) as store:
        wild.forget(store, given.name)
        alias = backup.forget_annotator(store, given.name)
    return f"{given.name} is '{alias}' from now on; earlier backups and exports still hold the name"


def _pause(given: Pause) -> str:
    with _open(given) as store:
        standing.pause(store, given.name, given.reason)
    return f"{given.name} gets nothing to judge: {given.reason}"


def _resume(given: Resume) -> str:
    with _open(given) as store:
        standing.resume(store, given.name)
    return f"{given.name} may go on; hidden gold counts anew"


def _annotators(given: Everybody) -> str:
    with _open(given) as store:
        found = standing.standings(store)
    if given.json_:
        return _json([asdict(one) for one in found])
    words: Mapping[bool | None, Literal["qualified", "not qualified", "not examined"]] = {
        True: "qualified",
        False: "not qualified",
        None: "not examined",
    }
    lines = []
    for one in found:
        why = f"  {one.reason}" if one.reason else ""
        stopped = f"  paused: {one.paused}" if one.paused else ""
        lines.append(f"{one.annotator}  {words[one.qualified]}  {one.answered} answers{why}{stopped}")
    return "\n".join(lines) or "no annotators"


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False, indent=1, default=str)


VERBS: dict[str, tuple[type[Any], Callable[[Any], str]]] = {
    "stats": (Stats, _stats),
    "annotators": (Everybody, _annotators),
    "export": (Export, _export),
    "import": (Import, _import),
    "backup": (Backup, _backup),
    "restore": (Restore, _restore),
    "pause": (Pause, _pause),
    "resume": (Resume, _resume),
    "forget": (Forget, _forget),
}


def find(first: str) -> str | None:
    """The verb that a first word is; None if it is a recipe."""
    return first if first in VERBS else None
