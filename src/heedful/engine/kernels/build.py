"""`python -m heedful.engine.kernels.build`: compile the kernels for this processor; seconds, once, or at first use."""

import contextlib
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import torch  # noqa: F401  brings the OpenMP that a built library is loaded with

from heedful.data import atomic
from heedful.data.cache import folder
from heedful.engine import terminal
from heedful.errors import UserError

SOURCES = tuple(sorted(Path(__file__).parent.glob("*.cpp")))
HEADERS = tuple(sorted(Path(__file__).parent.glob("*.h")))
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC")
AGAIN = "`python -m heedful.engine.kernels.build`"


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


def at_first_use() -> str:
    """Build what is missing, and return "" or why it cannot be; a compiler that failed is not asked again."""
    final = place()
    if final is None or final.is_file():
        return ""
    try:
        failed = _failed(final)
        if failed.is_file():
            return f"{failed.read_text(encoding='utf-8')}; {AGAIN} tries again"
        build()
    except UserError as error:
        return str(error)
    except OSError as error:  # a home that cannot be written
        return f"the kernels cannot be kept in '{final.parent}' ({error.strerror}): name a folder by HEEDFUL_CACHE"
    return ""


def _failed(final: Path) -> Path:
    """Where it is written down that compiling failed."""
    return final.with_suffix(".failed")


def build() -> Path:
    """Compile the kernels unless they are there, and return where they lie.

    One process compiles while others wait for it. Raises UserError without a C++ compiler, and where no way of
    compiling gives a library that loads.
    """
    final = place()
    if final is None:
        raise UserError(
            "there is no cache folder to keep the kernels in: unset HEEDFUL_CACHE, or name a folder"
        )
    if final.is_file():
        return final
    compiler = _compiler()
    final.parent.mkdir(parents=True, exist_ok=True)
    with atomic.turn(final.parent / ".lock"):
        return final if final.is_file() else _built(compiler, final)


def _built(compiler: str, final: Path) -> Path:
    """The library, made aside and moved in whole."""
    terminal.say("compiling the kernels for this processor: a few seconds, once")
    _failed(final).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=final.parent) as aside:
        complaint = ""
        # OpenMP's functions are left to be found in the one that torch has loaded: a second one would bring threads
        # of its own. Where torch has none that fits this compiler, they are built for one thread.
        for number, extra in enumerate((("-fopenmp",), ("-fopenmp-simd",), ())):
            made = Path(aside) / f"{number}.so"
            complaint = _compiled(compiler, made, extra)
            if not complaint:
                os.replace(made, final)
                return final
    why = f"the kernels cannot be built ({compiler} says: {complaint})"
    with contextlib.suppress(OSError):
        atomic.write_text(_failed(final), why)
    raise UserError(why)


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and shutil.which(name):
            return name
    raise UserError("there is no C++ compiler (c++, g++, clang++ or $CXX): install one to be faster")


def _compiled(compiler: str, made: Path, extra: tuple[str, ...]) -> str:
    """Write the library `made` and return "", or else what went wrong."""
    undefined = ("-undefined", "dynamic_lookup") if sys.platform == "darwin" else ()
    objects = [made.with_suffix(f".{source.stem}.o") for source in SOURCES]
    compiling = [
        [compiler, *FLAGS, *extra, "-c", str(source), "-o", str(compiled)]
        for source, compiled in zip(SOURCES, objects, strict=True)
    ]
    for command in (*compiling, [compiler, "-shared", *undefined, *map(str, objects), "-o", str(made)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return " ".join(done.stderr.split())[-500:]
    try:
        ctypes.CDLL(str(made))
    except OSError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    try:
        print(build())
    except UserError as error:
        sys.exit(str(error))
