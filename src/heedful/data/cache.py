"""Where what can be made again is kept: log-probs of references, tokens, compiled kernels, others' environments.

A file of arrays holds a hash of them, so that one which is torn or altered is a miss; so is any fault of the disk.
"""

import contextlib
import hashlib
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

LIMIT = 2 * 1024**3
"""How many bytes a folder of the cache may hold."""

Arrays = Mapping[str, NDArray[Any]]


def folder() -> Path | None:
    """$HEEDFUL_CACHE (empty: nowhere), else `heedful` in the user's cache folder; None where there is none."""
    chosen = os.environ.get("HEEDFUL_CACHE")
    if chosen is not None:
        return Path(chosen) if chosen else None
    home = os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(RuntimeError):  # a user without a home
        return (Path(home) if home else Path.home() / ".cache") / "heedful"
    return None


def read(path: Path) -> Arrays | None:
    """The arrays at `path`, if they are whole."""
    try:
        with safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            digest = (file.metadata() or {}).get("sha256")
        if _digest(arrays) != digest:
            return None
        os.utime(path)  # the oldest go first
    except (OSError, SafetensorError, ValueError, TypeError):
        return None
    return arrays


def write(path: Path, arrays: Arrays) -> None:
    """Write beside `path`, then rename: another process may read it, or write the same, at any time."""
    beside = path.with_name(f"{path.stem}.{uuid.uuid4().hex}.partial")
    content = save(dict(arrays), metadata={"sha256": _digest(arrays)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.replace(path)
    except OSError:  # no room, no right to write: it is only a cache
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def prune(folder: Path, limit: int = LIMIT) -> None:
    """Remove what was used longest ago until at most `limit` bytes are left."""
    with contextlib.suppress(OSError):
        files = [(f.stat().st_mtime_ns, f.stat().st_size, f) for f in folder.iterdir() if f.is_file()]
        total = sum(size for _, size, _ in files)
        for _, size, file in sorted(files):
            if total <= limit:
                break
            file.unlink(missing_ok=True)
            total -= size


def _digest(arrays: Arrays) -> str:
    whole = hashlib.sha256()
    for name in sorted(arrays):
        whole.update(f"{name}\0{arrays[name].dtype}\0{arrays[name].shape}\0".encode())
        whole.update(arrays[name].tobytes())
    return whole.hexdigest()
