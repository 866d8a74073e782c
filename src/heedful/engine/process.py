"""The process itself: as many threads as the machine really gives, and a word where they do not run in parallel."""

import os
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from heedful.engine import machine, ranks, terminal

_PROC = Path("/proc/self")


def use_cores() -> None:
    """Set the number of threads, unless OMP_NUM_THREADS says otherwise; processes of one machine share its cores."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, machine.cores() // ranks.on_this_machine()))


def prepare() -> None:
    """Set the number of threads, and say so if other programs take their cores."""
    use_cores()
    threads = torch.get_num_threads()
    if threads > 1 and (line := machine.crowding(threads, machine.free_cores(threads))):
        terminal.say(line)


def parallel() -> dict[str, int]:
    """What the order of sums depends on."""
    return {"threads": torch.get_num_threads(), "processes": ranks.size()}


def say_if_changed(stage: str, before: Mapping[str, Any]) -> None:
    """Say so where a run goes on with other numbers of threads or processes than it was saved with."""
    now = parallel()
    changed = {name: int(before[name]) for name in now if int(before.get(name, now[name])) != now[name]}
    if changed:
        ran = " and ".join(f"{value} {name}" for name, value in changed.items())
        goes_on = " and ".join(str(now[name]) for name in changed)
        words = {"threads": "OMP_NUM_THREADS={}", "processes": "--processes {}"}
        keeps = " and ".join(words[name].format(value) for name, value in changed.items())
        terminal.say(
            f"{stage} ran with {ran} and goes on with {goes_on}: sums come out in another order, so its result is "
            f"close to an uninterrupted run's, not equal bit for bit; {keeps} keeps it equal"
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
