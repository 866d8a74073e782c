"""Whether this process uses the compiled kernels: found, chosen once, and kept for as long as a run lasts.

They are built at first use; where they cannot be, it is said and torch does the work. Their sums come out in another
order than torch's, so the choice must not change while a run lasts: it is made at first use, written down in every
stage's folder, and `keep` hands it on to the process that resumes. HEEDFUL_KERNELS=0 turns them off.
"""

import ctypes
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from heedful.engine.kernels import build
from heedful.errors import UserError

TORCH = "torch"
"""The name of the path without compiled kernels."""

_log = logging.getLogger(__name__)
_kept: list[str] = []
_paused: list[bool] = []
_at_hand: dict[str, ctypes.CDLL | None] = {}


def _library() -> tuple[str, ctypes.CDLL] | None:
    """The built library and its name, which tells its bytes; None where there is none or it does not load."""
    path = build.place()
    return None if path is None or not path.is_file() else _loaded(path)


@cache
def _loaded(path: Path) -> tuple[str, ctypes.CDLL] | None:
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        _log.warning(
            "the kernels do not load (%s): all goes on with torch, more slowly; remove '%s' to build them anew",
            error,
            path,
        )
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16], library


def _off() -> bool:
    return os.environ.get("HEEDFUL_KERNELS") == "0"


def at_hand() -> str:
    """The name of what is there already: `torch` or the built library's."""
    found = None if _off() else _library()
    return TORCH if found is None else found[0]


def available() -> str:
    """The name of what a new run uses: the library's, which is built if need be, or `torch` where it cannot be."""
    if not _off() and (why := build.at_first_use()):
        _say(f"{why}; all goes on with torch, more slowly")
    return at_hand()


def in_use() -> str:
    """The name of what this process uses; the first call decides for all that follow."""
    if not _kept:
        _kept.append(available())
    return _kept[0]


def keep(name: str) -> None:
    """Use from now on what has this name: what the work was begun with which this process goes on with."""
    if name == TORCH != at_hand():
        _say("this run was begun without the compiled kernels and goes on so; resume=false uses them")
    _kept[:] = [name]
    _at_hand.clear()


def built() -> ctypes.CDLL | None:
    """The library that this process uses, or None for torch.

    Raises UserError where `keep` asked for one that is not at hand: with another the run would not be the same.
    """
    wanted = in_use()
    if _paused:
        return None
    if wanted not in _at_hand:
        _at_hand[wanted] = _found(wanted)
    return _at_hand[wanted]


@contextmanager
def paused() -> Iterator[None]:
    """Compute with torch for as long as this lasts: the kernels have no forward-mode derivative."""
    _paused.append(True)
    try:
        yield
    finally:
        _paused.pop()


def _found(wanted: str) -> ctypes.CDLL | None:
    if wanted == TORCH:
        return None
    here = available()
    found = _library()
    if found is None or wanted != here:
        raise UserError(
            f"this run was begun with the compiled kernels {wanted}, which are not at hand (here: {here}): unset "
            "HEEDFUL_KERNELS and use the same compiler and processor, or begin anew with resume=false"
        )
    return found[1]


@cache
def _say(line: str) -> None:
    _log.warning(line)
