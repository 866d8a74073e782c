"""Files and folders that exist whole or not at all, whatever dies in between."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
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
    """Replace `path` by `text`: written beside it, synced, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".partial")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by indented JSON."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def new_folder(final: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `final` when the block ends well; an older `final` is replaced."""
    final.parent.mkdir(parents=True, exist_ok=True)
    partial = final.with_name("partial-" + final.name)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    yield partial
    for file in sorted(p for p in partial.rglob("*") if p.is_file()):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    sync_folder(partial)
    if final.exists():
        old = final.with_name("old-" + final.name)
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
        partial.rename(final)
        shutil.rmtree(old)
    else:
        partial.rename(final)
    sync_folder(final.parent)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold `folder` for this process; a second one gets a UserError. The lock dies with its holder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as file:
        _lock_file(file, folder)
        yield


def _lock_file(file: IO[str], folder: Path) -> None:
    busy = UserError(
        f"another heedful process is working in '{folder}': wait for it or choose another output"
    )
    if os.name == "nt":
        import msvcrt

        with contextlib.suppress(OSError):
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            return
        raise busy
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise busy from error
