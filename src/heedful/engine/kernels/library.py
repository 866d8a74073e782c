"""Whether this process uses the compiled kernels: found, chosen once, and kept for as long as a run lasts.

They are used where `python -m heedful.engine.kernels.build` has built them, and never built unasked. Their sums come
out in another order than torch's, so the choice must not change while a run lasts: it is made at first use, written
down in every stage's folder, and `keep` hands it on to the process that resumes. HEEDFUL_KERNELS=0 turns them off.
"""

import ctypes
import hashlib
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from heedful.data.cache import folder
from heedful.errors import UserError

SOURCES = tuple(sorted(Path(__file__).parent.glob("*.cpp")))
HEADERS = tuple(sorted(Path(__file__).parent.glob("*.h")))
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC")
TORCH = "torch"
"""The name of the path without compiled kernels."""

_log = logging.getLogger(__name__)
_kept: list[str] = []
_paused: list[bool] = []
_at_hand: dict[str, ctypes.CDLL | None] = {}


@cache
def place() -> Path | None:
    """Where the library of these sources lies for this processor, built or not; None without a cache folder."""
    root = folder()
    if root is None:
        return None
    what = hashlib.sha256(b"".join(file.read_bytes() for file in (*SOURCES, *HEADERS)))
    what.update(f"{FLAGS} {platform.system()} {platform.machine()} {_processor()}".encode())
    return root / "kernels" / f"kernels-{what.hexdigest()[:16]}.so"


def _processor() -> str:
    """What the processor can do: code that is built for it may not run on another one with the same home."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor()
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


@cache
def _loaded(path: Path | None) -> tuple[str, ctypes.CDLL] | None:
    """A built library and its name, which tells its bytes; None where there is none or it does not load."""
    if path is None or not path.is_file():
        return None
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        _log.warning(
            "the kernels do not load (%s): all goes on with torch, more slowly; build them anew with "
            "`python -m heedful.engine.kernels.build`",
            error,
        )
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16], library


def available() -> str:
    """The name of what a new run would use: `torch` or the built library's."""
    if os.environ.get("HEEDFUL_KERNELS") == "0":
        return TORCH
    found = _loaded(place())
    return TORCH if found is None else found[0]


def in_use() -> str:
    """The name of what this process uses; the first call decides for all that follow."""
    if not _kept:
        _kept.append(available())
    return _kept[0]


def keep(name: str) -> None:
    """Use from now on what has this name: what the work was begun with which this process goes on with."""
    if name == TORCH != available():
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
    found = _loaded(place())
    if found is None or found[0] != wanted or available() == TORCH:
        raise UserError(
            f"this run was begun with the compiled kernels {wanted}, which are not at hand (here: {available()}): "
            "build them with `python -m heedful.engine.kernels.build` and unset HEEDFUL_KERNELS, or begin anew with "
            "resume=false"
        )
    return found[1]


def advise() -> None:
    """Say once how to be faster, where nothing is built and nobody turned it off."""
    path = place()
    if os.environ.get("HEEDFUL_KERNELS") != "0" and path is not None and not path.is_file():
        _say("to train and sample faster on this CPU, run once: python -m heedful.engine.kernels.build")


@cache
def _say(line: str) -> None:
    _log.warning(line)
