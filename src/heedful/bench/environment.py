"""Where the rivals live: a virtual environment for each version, and the variables that every worker gets."""

import os
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

from heedful.engine import terminal
from heedful.errors import UserError

# Keeping freed memory, and in huge pages, spares both sides the page faults of every step.
ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


# What is installed in one command with each library, so that only it differs: ours in our own versions.
OURS = {"trl": ("torch", "transformers"), "torchtune": ("torch",)}
BESIDE = {"torchtune": ("torchao==0.10.0",)}  # the last that torchtune 0.6.1 was made for


def python(folder: Path, library: str, number: str) -> Path:
    """The Python of a virtual environment with this version of a library, which is made if need be."""
    home = folder / f"{library}-{number}"
    found = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ready = home / ".ready"
    if ready.is_file():
        return found
    wanted = [f"{name}=={version(name).partition('+')[0]}" for name in OURS[library]]
    wanted += [*BESIDE.get(library, ()), f"{library}=={number}"]
    command = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    terminal.say(f"installing {library} {number} into {home}: this is done once")
    venv.create(home, with_pip=True, clear=True)
    if subprocess.run([found, *command], stdout=sys.stderr).returncode:
        raise UserError(
            f"{library} {number} cannot be installed into '{home}': see pip's message above, or make that virtual "
            f"environment yourself and put an empty file '.ready' into it"
        )
    ready.touch()
    return found


def variables(threads: int) -> dict[str, str]:
    """The environment of every worker, ours and theirs."""
    count = str(threads)
    return {
        **os.environ,
        **ALLOCATOR,
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRL_EXPERIMENTAL_SILENCE": "1",
    }
