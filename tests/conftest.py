"""What all tests share: quiet, deterministic, one process-wide thread setting."""

import os
import tempfile
from pathlib import Path

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# Triton's kernels are interpreted on the CPU, wherever there is a triton; to be set before its first import.
os.environ["TRITON_INTERPRET"] = "1"

# Tiny tensors: threads only wait for one another. By the environment too, which commands that tests start obey:
# bit for bit holds for one number of threads.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

# Tests neither use nor fill the cache of the person who runs them. Workers of one run share the compiled kernels.
_CACHE = tempfile.TemporaryDirectory(prefix="heedful-tests-")
_KERNELS = (
    Path(os.environ["HEEDFUL_CACHE"] if "PYTEST_XDIST_WORKER" in os.environ else _CACHE.name) / "kernels"
)
_KERNELS.mkdir(exist_ok=True)
os.environ["HEEDFUL_CACHE"] = _CACHE.name
if _KERNELS.parent != Path(_CACHE.name):
    (Path(_CACHE.name) / "kernels").symlink_to(_KERNELS)

SHARED = Path(os.environ.get("HEEDFUL_SHARED", Path(__file__).parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and small real models; tests that need it skip where it is absent."""
    if not (SHARED / "models").is_dir():
        pytest.skip(f"no real data at {SHARED}: set HEEDFUL_SHARED")
    return SHARED
