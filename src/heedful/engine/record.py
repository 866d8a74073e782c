"""What ran: `run.json`, with the command, its settings, versions and the fingerprints of its files."""

import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import BaseModel

from heedful import __version__
from heedful.data import atomic
from heedful.engine import machine
from heedful.engine.stage import fingerprint


def write(folder: Path, config: BaseModel) -> None:
    """Write `folder`/run.json; every file that `config` names is fingerprinted."""
    files = {name: value for name, value in config if isinstance(value, Path) and value.is_file()}
    packages = ("torch", "transformers", "tokenizers", "numpy")
    atomic.write_json(
        folder / "run.json",
        {
            "command": command(),
            "config": config.model_dump(mode="json"),
            "seed": getattr(config, "seed", None),
            "commit": commit(),
            "versions": {
                "heedful": __version__,
                "python": platform.python_version(),
                **{name: version(name) for name in packages},
            },
            "device": platform.processor() or platform.machine(),
            "cores": machine.cores(),
            "threads": torch.get_num_threads(),
            "data": {name: fingerprint(path) for name, path in files.items()},
        },
    )


def command() -> str:
    """What the user typed."""
    return shlex.join(["heedful", *sys.argv[1:]])


def commit() -> str | None:
    """The commit of the checkout that this package runs from, or None when it is installed."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
