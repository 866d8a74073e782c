"""Where what can be made again is kept: log-probs of references, compiled kernels, others' environments."""

import contextlib
import os
from pathlib import Path


def folder() -> Path | None:
    """$HEEDFUL_CACHE (empty: nowhere), else `heedful` in the user's cache folder; None where there is none."""
    chosen = os.environ.get("HEEDFUL_CACHE")
    if chosen is not None:
        return Path(chosen) if chosen else None
    home = os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(RuntimeError):  # a user without a home
        return (Path(home) if home else Path.home() / ".cache") / "heedful"
    return None
