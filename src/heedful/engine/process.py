"""The process itself: threads that the machine really gives, warnings that nobody can act on."""

import os
from pathlib import Path

import torch


def cores() -> int:
    """CPU cores this process may use: affinity and the container's quota, which `os.cpu_count` ignores."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, period = quota.read_text().split()
        if limit != "max":
            allowed = min(allowed, max(1, round(int(limit) / int(period))))
    return allowed


def prepare() -> None:
    """Set the number of threads, unless OMP_NUM_THREADS says otherwise."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(cores())


def peak_memory_bytes() -> int:
    """The most memory this process has held."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if os.uname().sysname == "Darwin" else peak * 1024
