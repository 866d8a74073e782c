"""The process itself: as many threads as the machine really gives, and a word where they do not run in parallel."""

import os
import platform
import re
from contextlib import suppress
from pathlib import Path

import torch

from heedful.engine import machine, terminal

_PROC = Path("/proc/self")


def use_cores() -> None:
    """Set the number of threads, unless OMP_NUM_THREADS says otherwise."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(machine.cores())


def prepare() -> None:
    """Set the number of threads, and say so if other programs take their cores."""
    use_cores()
    threads = torch.get_num_threads()
    if threads > 1 and (line := machine.crowding(threads, machine.free_cores(threads))):
        terminal.say(line)


def say_if_other_threads(stage: str, before: int) -> None:
    """Say so where a run goes on with another number of threads than the `before` that it was saved with."""
    now = torch.get_num_threads()
    if now != before:
        terminal.say(
            f"{stage} ran with {before} threads and goes on with {now}: sums come out in another order, so its result "
            f"is close to an uninterrupted run's, not equal bit for bit; OMP_NUM_THREADS={before} keeps it equal"
        )


def peak_memory_bytes() -> int:
    """The most memory this process has held, since `forget_peak_memory` where that takes effect."""
    with suppress(OSError):
        if found := re.search(r"VmHWM:\s*(\d+) kB", (_PROC / "status").read_text()):
            return 1024 * int(found[1])
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def forget_peak_memory() -> None:
    """Count the most memory from here on (Linux; elsewhere it stays that of the whole life)."""
    with suppress(OSError):
        (_PROC / "clear_refs").write_text("5")
