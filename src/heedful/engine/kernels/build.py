"""`python -m heedful.engine.kernels.build`: compile the kernels for this processor; seconds, once."""

import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch  # noqa: F401  brings the OpenMP that a built library is loaded with

from heedful.engine.kernels import library
from heedful.errors import UserError


def build() -> Path:
    """Compile the kernels unless they are there, and return where they lie.

    Built aside and moved in whole, so that any number of processes may build at once. Raises UserError without
    a C++ compiler, and where no way of compiling gives a library that loads.
    """
    final = library.place()
    if final is None:
        raise UserError(
            "there is no cache folder to keep the kernels in: unset HEEDFUL_CACHE, or name a folder"
        )
    if final.is_file():
        return final
    compiler = _compiler()
    final.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=final.parent) as folder:
        complaint = ""
        # OpenMP's functions are left to be found in the one that torch has loaded: a second one would bring threads
        # of its own. Where torch has none that fits this compiler, they are built for one thread.
        for number, extra in enumerate((("-fopenmp",), ("-fopenmp-simd",), ())):
            made = Path(folder) / f"{number}.so"
            complaint = _compiled(compiler, made, extra)
            if not complaint:
                os.replace(made, final)
                return final
    raise UserError(f"the kernels cannot be built; all goes on with torch. {compiler} says: {complaint}")


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and shutil.which(name):
            return name
    raise UserError(
        "there is no C++ compiler (c++, g++, clang++ or $CXX): install one to be faster; all works without"
    )


def _compiled(compiler: str, made: Path, extra: tuple[str, ...]) -> str:
    """Write the library `made` and return "", or else what went wrong."""
    undefined = ("-undefined", "dynamic_lookup") if sys.platform == "darwin" else ()
    objects = [made.with_suffix(f".{source.stem}.o") for source in library.SOURCES]
    compiling = [
        [compiler, *library.FLAGS, *extra, "-c", str(source), "-o", str(compiled)]
        for source, compiled in zip(library.SOURCES, objects, strict=True)
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
