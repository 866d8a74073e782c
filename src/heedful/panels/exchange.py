"""Panels and stories as JSON, checked against a schema, with version and provenance.

A file of steps is JSONL: one row a passage, with the panel before it and the panel after it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from heedful.errors import UserError
from heedful.panels.panel import FIELDS, NAMED, Entry, Field, Panel, clean
from heedful.types import Lang

VERSION: Literal[1] = 1
Source = Literal["", "world", "model", "person", "rule"]


def _not_empty(text: str) -> str:
    if not text.strip():
        raise ValueError("must hold more than white space")
    return clean(text)


Text = Annotated[str, AfterValidator(_not_empty)]


class EntryModel(BaseModel):
    """Someone or something by name, and its state."""

    model_config = ConfigDict(extra="forbid")

    name: Text
    state: str = ""


class PanelModel(BaseModel):
    """A contextual panel. Every field may be left out."""

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = VERSION
    lang: Lang = "en"
    people: list[EntryModel] = []
    places: list[EntryModel] = []
    things: list[EntryModel] = []
    long_memory: list[Text] = []
    rules: list[Text] = []
    goals: list[Text] = []
    future: list[Text] = []
    style: list[Text] = []
    short_memory: list[Text] = []
    plan: list[Text] = []


@dataclass(frozen=True, slots=True)
class Step:
    """One passage of a story with its panels. `before` holds the plan that the passage was written to.

    `condition` names a quality that is said to the model (C-RLFT), `weight` multiplies the loss; `source` says who
    wrote the panels, `model` which one where it was a model.
    """

    story: str
    index: int
    passage: str
    before: Panel
    after: Panel
    condition: str = ""
    weight: float = 1.0
    source: Source = ""
    model: str = ""


class StepModel(BaseModel):
    """A row of a file of steps."""

    model_config = ConfigDict(extra="ignore")

    story: str
    index: int
    passage: Text
    before: PanelModel
    after: PanelModel
    condition: str = ""
    weight: float = 1.0
    source: Source = ""
    model: str = ""


def schema() -> dict[str, Any]:
    """The JSON schema of a panel."""
    return PanelModel.model_json_schema()


def to_json(panel: Panel) -> dict[str, Any]:
    """A panel as JSON, without its empty fields."""
    found: dict[str, Any] = {"version": VERSION, "lang": panel.lang}
    for field in FIELDS:
        if field in NAMED and not panel.empty(field):
            found[field] = [{"name": e.name, "state": e.state} for e in panel.entries(field)]
        elif not panel.empty(field):
            found[field] = list(panel.texts(field))
    return found


def from_json(data: Mapping[str, Any], where: str = "the panel") -> Panel:
    """A panel from JSON; UserError names what does not fit the schema."""
    try:
        return _panel(PanelModel.model_validate(dict(data)))
    except ValidationError as error:
        raise UserError(f"{where} is not right: {_first(error)}") from None


def step_row(step: Step) -> dict[str, Any]:
    """A step as a row of a file."""
    plain = {name: getattr(step, name) for name in ("story", "index", "passage")}
    panels = {"before": to_json(step.before), "after": to_json(step.after)}
    rest = {name: getattr(step, name) for name in ("condition", "weight", "source", "model")}
    return {**plain, **panels, **rest}


def step_of(row: Mapping[str, Any], where: str = "a row") -> Step:
    """A step from a row; UserError names what does not fit."""
    try:
        found = StepModel.model_validate(dict(row))
    except ValidationError as error:
        raise UserError(f"{where} is no step of a story: {_first(error)}") from None
    if not 0 <= found.weight < float("inf"):
        raise UserError(f"{where}: weight is {found.weight}, but it must be 0 or a positive number")
    return Step(
        found.story,
        found.index,
        str(row["passage"]).strip(),
        _panel(found.before),
        _panel(found.after),
        found.condition,
        found.weight,
        found.source,
        found.model,
    )


def _panel(model: PanelModel) -> Panel:
    items: dict[Field, Any] = {f: tuple(map(clean, getattr(model, f))) for f in FIELDS if f not in NAMED}
    for field in NAMED:
        items[field] = tuple(Entry(clean(e.name), clean(e.state)) for e in getattr(model, field))
    return Panel(**items, lang=model.lang)


def _first(error: ValidationError) -> str:
    fault = error.errors()[0]
    place = ".".join(map(str, fault["loc"])) or "the whole"
    return f"{place}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
