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


def python(folder: Path, trl: str) -> Path:
    """The Python of a virtual environment with this version of TRL, which is made if need be.

    torch and transformers get our own versions, in one command with TRL, so that only TRL differs.
    """
    home = folder / f"trl-{trl}"
    found = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ready = home / ".ready"
    if ready.is_file():
        return found
    ours = [f"{name}=={version(name).partition('+')[0]}" for name in ("torch", "transformers")]
    command = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", *ours, f"trl=={trl}"]
    terminal.say(f"installing TRL {trl} into {home}: this is done once")
    venv.create(home, with_pip=True, clear=True)
    if subprocess.run([found, *command], stdout=sys.stderr).returncode:
        raise UserError(
            f"TRL {trl} cannot be installed into '{home}': see pip's message above, or make that virtual environment "
            f"yourself and put an empty file '.ready' into it"
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
