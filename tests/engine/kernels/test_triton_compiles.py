"""Every Triton kernel compiles to machine code for the GPUs that people have; no GPU is needed for that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMPILE = Path(__file__).with_name("compile_triton.py")


SHARED_MEMORY = {80: 163 * 1024, 90: 227 * 1024}
"""What a program may take of an A100 and of an H100."""


@pytest.mark.slow
@pytest.mark.parametrize("capability", SHARED_MEMORY)
def test_every_kernel_compiles(capability: int, tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(COMPILE), str(capability)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    taken = {name: int(size) for name, size in map(str.split, done.stdout.splitlines())}
    assert len(taken) == 22
    assert max(taken.values()) <= SHARED_MEMORY[capability]
