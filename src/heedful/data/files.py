"""Files of records: JSONL, JSON, text, CSV and Parquet in, JSONL out."""

import csv
import gzip
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from heedful.data import atomic, jsontext, raw
from heedful.data.wording import shown
from heedful.errors import UserError, nearest


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a file. `line` counts from 1; in Parquet, which has no lines, it counts rows."""

    data: dict[str, Any]
    path: str
    line: int

    @property
    def where(self) -> str:
        return f"{self.path}, {'row' if self.path.lower().endswith('.parquet') else 'line'} {self.line}"


def read_rows(path: str | Path) -> Iterator[Row]:
    """Stream the records of a file; its ending names its format, and all but .parquet may end in .gz too.

    A .txt file gives one row {"text": line} a line, blank ones included. A .json file holds a list of
    objects or one object a line. A broken file raises a UserError that names the file and the line: at
    once if there is no such file, else when the broken row is reached.
    """
    file = raw.existing(path)
    return _rows(file, _reader(file))


def write_jsonl(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one JSON object a line, whole or not at all, and return how many; a name in .gz is compressed."""
    count = 0
    with _replacing(Path(path)) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")
            count += 1
    return count


def fingerprint(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with raw.existing(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_text(path: str | Path) -> bool:
    """Whether a file's name says plain text, not records."""
    return _ending(Path(path)) == ".txt"


def _rows(file: Path, reader: Callable[[Path], Iterator[tuple[int, dict[str, Any]]]]) -> Iterator[Row]:
    path, line = str(file), 0
    for line, data in reader(file):
        yield Row(data, path, line)
    if not line:
        raise UserError(f"{path} holds no rows.")


def _ending(file: Path) -> str:
    return Path(file.name.lower().removesuffix(".gz")).suffix


def _reader(file: Path) -> Callable[[Path], Iterator[tuple[int, dict[str, Any]]]]:
    if file.suffix.lower() == ".parquet":
        return _parquet_rows
    ending = _ending(file)
    if ending in _READERS:
        return _READERS[ending]
    raise UserError(
        f"{file} has the ending {shown(ending)}, but {', '.join(_READERS)} (with or without .gz) "
        f"and .parquet are what can be read.{nearest(ending, [*_READERS, '.parquet'])}"
    )


def _text_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    return ((line, {"text": text}) for line, text in raw.lines(file))


def _csv_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    # The limit is the process's own and is only ever raised: the default, 128 KiB, cuts off long stories.
    csv.field_size_limit(raw.LONGEST_LINE)
    records = csv.reader((text + "\n" for _, text in raw.lines(file)), strict=True)
    names: list[str] = []
    while True:
        line = records.line_num + 1
        try:
            cells = next(records, None)
        except csv.Error as error:
            raise UserError(f"{file}, line {line} is not valid CSV: {error}.") from None
        if cells is None:
            return
        if not names:
            names = _header(cells, file)
        elif cells:
            if len(cells) != len(names):
                raise UserError(
                    f"{file}, line {line} has {len(cells)} cells, but the header has {len(names)}."
                )
            yield line, dict(zip(names, cells, strict=True))


def _header(cells: list[str], file: Path) -> list[str]:
    if not all(cells):
        raise UserError(f"{file}, line 1 has a column without a name.")
    twice = next((name for name in cells if cells.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{file}, line 1 has two columns named {shown(twice)}.")
    return cells


def _parquet_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(f"{file} needs pyarrow to be read: pip install heedful[parquet]") from None
    row = 0
    try:
        with parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=1024):
                for data in batch.to_pylist():
                    row += 1
                    yield row, data
    except UnicodeDecodeError:
        raise UserError(f"{file} holds text after row {row} that is not UTF-8.") from None
    except (ArrowException, OSError) as error:
        reason = " ".join(str(error).split()).split(". ")[0].rstrip(".")
        raise UserError(f"{file} is not Parquet or is damaged: {reason[:120]}.") from None


_READERS: dict[str, Callable[[Path], Iterator[tuple[int, dict[str, Any]]]]] = {
    ".jsonl": jsontext.jsonl_objects,
    ".json": jsontext.json_objects,
    ".txt": _text_rows,
    ".csv": _csv_rows,
}


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes its name only when it is complete and on the disk."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as disk:
            if path.suffix == ".gz":
                # Neither a name nor a time, so that equal rows make equal files.
                with gzip.GzipFile("", "wb", fileobj=disk, mtime=0) as file:
                    yield cast(IO[bytes], file)
            else:
                yield disk
            disk.flush()
            os.fsync(disk.fileno())
        partial.replace(path)
        atomic.sync_folder(path.parent)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from None
    finally:
        with suppress(OSError):
            partial.unlink()
