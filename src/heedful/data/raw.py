"""Bytes on disk -> checked UTF-8 text: every way in which a file can be broken becomes one sentence."""

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, cast

from heedful.errors import UserError, nearest

LONGEST_LINE = 16 * 2**20
LONGEST_FILE = 2**30  # of a .json file, which cannot be read line by line
_BOM = b"\xef\xbb\xbf"
_MAGIC = {
    b"\x1f\x8b": "it is gzip, so its name must end in .gz",
    b"\xff\xfe": "it is UTF-16, so save it as UTF-8",
    b"\xfe\xff": "it is UTF-16, so save it as UTF-8",
    b"PK": "it is a zip archive, so unpack it first",
}


def existing(path: str | Path) -> Path:
    """The path of a readable regular file, with ~ expanded."""
    file = Path(path).expanduser()
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"There is no file '{path}'.{_nearest_name(file)}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be opened: {_reason(error)}.") from None
    if file.is_dir():
        raise UserError(f"{path} is a folder; name a file inside it.")
    if not file.is_file():
        raise UserError(f"{path} is not a regular file.")
    return file


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Each line with its number (from 1), without its line end; only \\n and \\r\\n end a line."""
    number = offset = 0
    with open_bytes(path) as file:
        while raw := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(raw) > LONGEST_LINE:
                raise UserError(f"{path}, line {number} is longer than 16 MiB; put one record on each line.")
            text = _decode(raw, path, number, offset)
            offset += len(raw)
            yield number, text.removesuffix("\n").removesuffix("\r")
    if not number:
        raise UserError(f"{path} is empty.")


def whole(path: Path) -> str:
    """The whole text of a file of at most 1 GiB."""
    with open_bytes(path) as file:
        raw = file.read(LONGEST_FILE + 1)
    if len(raw) > LONGEST_FILE:
        raise UserError(f"{path} is larger than 1 GiB; write it as .jsonl, one object a line.")
    if not raw:
        raise UserError(f"{path} is empty.")
    return _decode(raw, path, 1, 0)


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """Open a plain or .gz file; what goes wrong while reading it is a UserError."""
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            yield cast(IO[bytes], file)
    except EOFError:
        raise UserError(f"{path} stops in the middle of its gzip data; copy or download it again.") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is not gzip or is damaged ({error}); copy or download it again.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {_reason(error)}.") from None


def _decode(raw: bytes, path: Path, line: int, offset: int) -> str:
    """`raw` begins on `line`, `offset` bytes into the file."""
    try:
        text = (raw.removeprefix(_BOM) if not offset else raw).decode()
    except UnicodeDecodeError as error:
        skipped = len(raw) - len(error.object)
        line += error.object.count(b"\n", 0, error.start)
        byte = offset + skipped + error.start + 1
        advice = "save it as UTF-8" if offset else _advice(raw)
        raise UserError(f"{path}, line {line} is not UTF-8 (byte {byte} of the file); {advice}.") from None
    if "\0" in text:
        line += text.count("\n", 0, text.index("\0"))
        raise UserError(f"{path}, line {line} holds a NUL byte; save it as UTF-8 text.")
    return text


def _advice(raw: bytes) -> str:
    return next((advice for magic, advice in _MAGIC.items() if raw.startswith(magic)), "save it as UTF-8")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _nearest_name(file: Path) -> str:
    """A hint taken from the first folder on the path that exists."""
    missing = file
    while not missing.parent.is_dir() and missing.parent != missing:
        missing = missing.parent
    try:
        with os.scandir(missing.parent) as entries:
            return nearest(missing.name, [entry.name for entry in islice(entries, 10_000)])
    except OSError:
        return ""
