"""A configuration's settings in words: name, type, default and limits; for the terminal and the documentation."""

import json
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

BOUNDS = {Gt: ("> {}", "gt"), Ge: ("≥ {}", "ge"), Lt: ("< {}", "lt"), Le: ("≤ {}", "le")}
WIDTH = 79


class Setting(NamedTuple):
    """A setting; code stands in backquotes. `default` is None where there is none and it has to be given."""

    name: str
    kind: str
    default: str | None
    limits: str


def settings(config: type[BaseModel], base: type[BaseModel] | None = None) -> Iterator[Setting]:
    """The settings that `config` adds to `base` or gives another default."""
    known = base.model_fields if base else {}
    for name, field in config.model_fields.items():
        if name not in known or repr(known[name]) != repr(field):
            yield from _settings(field.alias or name, field)


def _settings(name: str, field: FieldInfo) -> Iterator[Setting]:
    """A setting; of a group of settings, each of its own."""
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
        for inner, one in field.annotation.model_fields.items():
            yield from _settings(f"{name}.{inner}", one)
        return
    default = None if field.is_required() else shown(field.get_default(call_default_factory=True))
    yield Setting(name, kind(field.annotation), default, limits(field))


def kind(of: Any) -> str:
    """A type in words."""
    origin, args = get_origin(of), get_args(of)
    if origin is Literal:
        return " or ".join(f"`{a}`" for a in args)
    if origin in (Union, types.UnionType):
        return " or ".join("none" if a is type(None) else kind(a) for a in args)
    if origin is dict:
        return "settings" if args[1] is Any else f"{kind(args[0])} → {kind(args[1])}"
    if origin is tuple:
        return f"list of {kind(args[0])}"
    return {str: "text", Path: "path", bool: "true or false", int: "integer", float: "number"}[of]


def shown(value: Any) -> str:
    """A value as it is written on the command line."""
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, Path):
        return f"`{value.as_posix()}`"
    if isinstance(value, str) and "\n" in value:
        return f"`{json.dumps(value)}`"
    if isinstance(value, tuple):
        return f"`[{','.join(map(str, value))}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def limits(field: FieldInfo) -> str:
    """The bounds of a number or a size."""
    found = [
        text.format(f"{getattr(m, name):g}")
        for m in field.metadata
        for bound, (text, name) in BOUNDS.items()
        if isinstance(m, bound)
    ]
    found += [f"at least {m.min_length}" for m in field.metadata if isinstance(m, MinLen)]
    found += [f"at most {m.max_length}" for m in field.metadata if isinstance(m, MaxLen)]
    return ", ".join(found)


def listed(config: type[BaseModel], defaults: Mapping[str, str]) -> str:
    """All settings for a terminal, those that must be given first: `name=default`, then type and limits.

    `defaults` are given by the verb where the configuration has none.
    """
    found = [s._replace(default=s.default or defaults.get(s.name)) for s in settings(config)]
    found.sort(key=lambda setting: setting.default is not None)
    return "\n".join(line for setting in found for line in _lines(setting))


def _lines(setting: Setting) -> Iterator[str]:
    given = "..." if setting.default is None else setting.default.replace("`", "")
    head = f"  {setting.name}={'' if given == 'none' else given}"
    about = ", ".join(part for part in (setting.kind.replace("`", ""), setting.limits) if part)
    if setting.default is None:
        about += " (has to be given)"
    if len(head) >= 34:
        yield head
        head = ""
    words, line = about.split(), f"{head:<34}"
    for word in words:
        if len(line) + len(word) + 1 > WIDTH and line.strip():
            yield line.rstrip()
            line = " " * 34
        line += f" {word}"
    yield line.rstrip()
