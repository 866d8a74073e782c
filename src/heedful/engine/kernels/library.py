"""Which compiled kernel this process uses: found, chosen once, and kept for as long as a run lasts.

A kernel is used where `python -m heedful.engine.kernels.build` has built it, and never built unasked. Its sums come
out in another order than torch's, so the choice must not change while a run lasts: it is made at first use, written
down in every stage's folder, and `keep` hands it on to the process that resumes. HEEDFUL_KERNELS=0 turns kernels off.
"""

import ctypes
import hashlib
import logging
import os
import platform
from functools import cache
from pathlib import Path

from heedful.data.cache import folder
from heedful.errors import UserError

SOURCE = Path(__file__).with_name("decode.cpp")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC")
TORCH = "torch"
"""The name of the path without a compiled kernel."""

_log = logging.getLogger(__name__)
_kept: list[str] = []


@cache
def place() -> Path | None:
    """Where the library of this source lies for this processor, built or not; None without a cache folder."""
    root = folder()
    if root is None:
        return None
    what = hashlib.sha256(SOURCE.read_bytes())
    what.update(f"{FLAGS} {platform.system()} {platform.machine()} {_processor()}".encode())
    return root / "kernels" / f"decode-{what.hexdigest()[:16]}.so"


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
            "the decode kernel does not load (%s): sampling goes on with torch, more slowly; build it anew with "
            "`python -m heedful.engine.kernels.build`",
            error,
        )
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16], library


def available() -> str:
    """The name of the kernel that a new run would use: `torch` or the built library's."""
    if os.environ.get("HEEDFUL_KERNELS") == "0":
        return TORCH
    found = _loaded(place())
    return TORCH if found is None else found[0]


def in_use() -> str:
    """The name of the kernel that this process uses; the first call decides for all that follow."""
    if not _kept:
        _kept.append(available())
    return _kept[0]


def keep(name: str) -> None:
    """Use from now on the kernel of this name: the one that the work was begun with which this process goes on with."""
    if name == TORCH != available():
        _say("this run was begun without the decode kernel and goes on so; resume=false uses it")
    _kept[:] = [name]


def decode() -> ctypes.CDLL | None:
    """The library that this process uses, or None for torch.

    Raises UserError where `keep` asked for one that is not at hand: with another the run would not be the same.
    """
    wanted = in_use()
    if wanted == TORCH:
        path = place()
        if os.environ.get("HEEDFUL_KERNELS") != "0" and path is not None and not path.is_file():
            _say("to sample faster on this CPU, run once: python -m heedful.engine.kernels.build")
        return None
    found = _loaded(place())
    if found is None or found[0] != wanted or available() == TORCH:
        raise UserError(
            f"this run was begun with the decode kernel {wanted}, which is not at hand (here: {available()}): "
            "build it with `python -m heedful.engine.kernels.build` and unset HEEDFUL_KERNELS, or begin anew with "
            "resume=false"
        )
    return found[1]


@cache
def _say(line: str) -> None:
    _log.warning(line)
