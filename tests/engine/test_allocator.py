"""Freed buffers stay with the process."""

import subprocess
import sys

import pytest

from heedful.engine import allocator

PROGRAM = """
import resource, sys
from heedful.engine import allocator
if sys.argv[1] == "keep":
    allocator.keep_heap()
import torch
def touch():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(48 << 20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
# Until its holes are large enough the heap grows a few times.
print(min(touch() for _ in range(40)))
"""


@pytest.mark.skipif(not allocator.keep_heap(), reason="not glibc")
def test_a_large_buffer_is_not_mapped_anew() -> None:
    faults = {
        how: int(subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, check=True).stdout)
        for how in ("keep", "default")
    }
    assert faults["keep"] * 20 < faults["default"]
