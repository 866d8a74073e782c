"""`key=value` words and YAML files -> a checked configuration, with errors that name the nearest valid key."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from heedful.errors import UserError, nearest

Config = TypeVar("Config", bound=BaseModel)


def parse(words: Iterable[str]) -> dict[str, Any]:
    """Read `a.b=1` words into nested mappings; values are YAML scalars or lists."""
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise UserError(f"'{word}' is not a setting: write key=value, for example learning_rate=1e-5")
        try:
            value = number(text) if text else ""
        except (yaml.YAMLError, ValueError) as error:
            raise UserError(f"the value of '{name}' cannot be read: {text!r}") from error
        place = values
        *parents, last = name.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise UserError(f"'{name}' sets a part of '{parent}', which was given a value of its own")
        place[last] = value
    return values


def number(text: str) -> Any:
    """A YAML value; unlike YAML 1.1, `1e-5` is a number too."""
    try:
        return float(text) if "e" in text.lower() and text[0] in "+-.0123456789" else yaml.safe_load(text)
    except ValueError:
        return yaml.safe_load(text)


def read(path: Path) -> dict[str, Any]:
    """Read a YAML file of settings."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f", line {line + 1}"
        raise UserError(f"{path}{where} is not valid YAML: write key: value, one a line") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold key: value lines")
    return values


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one nested mapping over another."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def build(kind: type[Config], values: Mapping[str, Any], *, what: str) -> Config:
    """Check `values` against a configuration class; the first fault becomes one sentence."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        # A misspelt name is why another one is missing.
        faults = sorted(error.errors(), key=lambda fault: fault["type"] == "missing")
        raise _explained(faults[0], kind, what) from error


def check(kind: type[BaseModel], values: Mapping[str, Any], *, what: str) -> None:
    """Check as `build` does, but let settings be missing: others will add them."""
    required = {name for name, field in kind.model_fields.items() if field.is_required()} - values.keys()
    try:
        # Most of what is required is a path; anything in its place lets pydantic look at the whole.
        kind.model_validate({**dict.fromkeys(required, "-"), **values})
    except ValidationError as error:
        fault = next((f for f in error.errors() if not required.intersection(f["loc"][:1])), None)
        if fault is not None:
            raise _explained(fault, kind, what) from error


def _explained(fault: ErrorDetails, kind: type[BaseModel], what: str) -> UserError:
    name = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        hint = nearest(name, kind.model_fields) or f" Known: {', '.join(sorted(kind.model_fields))}."
        return UserError(f"{what} has no setting '{name}'.{hint}")
    if fault["type"] == "missing":
        return UserError(f"{what} needs {name}: add {name}=...")
    message = fault["msg"][0].lower() + fault["msg"][1:]
    if not name:  # several settings do not go together
        return UserError(f"{what}: {message.removeprefix('value error, ')}")
    return UserError(f"{what}: {name}={fault['input']!r} is not right: {message}")
