"""JSON objects with the line that each begins on, from JSONL and from a file that is one JSON list."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from heedful.data import raw
from heedful.data.wording import kind, shown
from heedful.errors import UserError


def jsonl_objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """One object a line; blank lines are passed over."""
    for line, text in raw.lines(file):
        start = _skip(text, 0)
        if start == len(text):
            continue
        value, end = _decoded(text, start, file, line)
        if _skip(text, end) != len(text):
            raise _invalid(file, line, f"extra text from column {end + 1} on")
        yield line, _checked(value, file, line, text)


def json_objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """A list of objects, or one object a line: many a .json file is JSONL, and the first character tells."""
    with raw.open_bytes(file) as opened:
        start = opened.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.split(b"\n")[0].strip() == b"{":
        raise UserError(
            f"{file} holds one object over several lines; write a list of objects, or one a line."
        )
    return _array_objects(file) if start.startswith(b"[") else jsonl_objects(file)


def _array_objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Take the list's objects one by one, so that each knows its line."""
    text = raw.whole(file)
    line, counted = 1, 0
    position = _skip(text, text.index("[") + 1)
    while not text.startswith("]", position):
        line, counted = line + text.count("\n", counted, position), position
        value, end = _decoded(text, position, file, line)
        yield line, _checked(value, file, line, text[position:end])
        position = _skip(text, end)
        if text.startswith(",", position):
            position = _skip(text, position + 1)
            if text.startswith("]", position):
                raise _invalid(file, line, "a ',' stands before the final ']'")
        elif not text.startswith("]", position):
            raise _invalid(file, line, "after this object a ',' or the final ']' is missing")
    if _skip(text, position + 1) != len(text):
        raise _invalid(file, line + text.count("\n", counted, position), "text follows the final ']'")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"the number {shown(digits)} is too large")
    return value


_JSON = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
_SPACE = re.compile(r"[ \t\r\n]*")
_SUSPECT = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


def _skip(text: str, position: int) -> int:
    return cast(re.Match[str], _SPACE.match(text, position)).end()


def _decoded(text: str, position: int, file: Path, line: int) -> tuple[Any, int]:
    """The value that starts at `position`, which is on `line`, and where it ends."""
    try:
        return _JSON.raw_decode(text, position)
    except json.JSONDecodeError as error:
        line += text.count("\n", position, error.pos)
        problem = f"{error.msg.removesuffix(' at').lower()} at column {error.colno}"
    except RecursionError:
        problem = "it is nested too deeply"
    except ValueError as error:
        problem = str(error).split(";")[0]
    raise _invalid(file, line, problem)


def _invalid(file: Path, line: int, problem: str) -> UserError:
    return UserError(f"{file}, line {line} is not valid JSON: {problem}.")


def _checked(value: object, file: Path, line: int, text: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{file}, line {line} holds {kind(value)} where an object {{...}} is expected.")
    # JSON can spell NULs and halves of characters, which neither a tokenizer nor a database takes.
    if _SUSPECT.search(text) and not all(map(_sound, _strings(value))):
        raise UserError(f"{file}, line {line} holds a character that is not text: a NUL or half an emoji.")
    return value


def _strings(value: object) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting += [*item, *item.values()]
        elif isinstance(item, list):
            waiting += item


def _sound(text: str) -> bool:
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text)
