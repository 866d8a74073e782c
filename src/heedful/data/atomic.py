"""Files and folders that exist whole or not at all, whatever dies in between."""

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from heedful.errors import UserError


def sync_folder(folder: Path) -> None:
    """Make a rename inside `folder` durable; a no-op where folders cannot be opened (Windows)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in UTF-8."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: written beside it, synced, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".partial")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by indented JSON."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Add lines to a journal and make them durable; a line that a death cut short is ended, for readers to skip."""
    with _as_os_error(path), path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write("".join(line + "\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `final` when the block ends well; an older `final` is replaced.

    When the block fails, what it wrote is removed, which frees a full disk.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    partial, old = (final.with_name(f"{word}-{final.name}") for word in ("partial", "old"))
    for left_over in (partial, old):
        shutil.rmtree(left_over, ignore_errors=True)
    partial.mkdir()
    try:
        with _as_os_error(final):
            yield partial
        for file in sorted(p for p in partial.rglob("*") if p.is_file()):
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        sync_folder(partial)
        if final.exists():
            final.rename(old)
        partial.rename(final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(final.parent)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _as_os_error(path: Path) -> Iterator[None]:
    """Libraries written in Rust hide the system's errors in the texts of their own: bring them back."""
    try:
        yield
    except Exception as error:
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None or isinstance(error, OSError):
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number), str(path)) from error


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; a second one gets a UserError. The lock dies with its holder.

    Nothing stays behind when nothing was written.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"'{folder}' is a file: choose a folder as output")
    created = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".lock"
    fresh = not path.exists()
    with path.open("a+") as file:
        if not _locked(file):
            raise UserError(
                f"another heedful process is working in '{folder}': wait for it or choose another output"
            )
        try:
            yield
        finally:
            if fresh and list(folder.iterdir()) == [path]:
                _remove(path, created)


def _remove(path: Path, folders: list[Path]) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
        for folder in folders:
            folder.rmdir()


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Hold the file `path`, which is made if need be, after waiting for whoever holds it. It dies with its holder."""
    with path.open("a+") as file:
        while not _locked(file):
            time.sleep(0.1)
        yield


def _locked(file: IO[str]) -> bool:
    """Lock the file for this process unless another one has."""
    if os.name == "nt":
        import msvcrt

        with contextlib.suppress(OSError):
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            return True
        return False
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
