"""What this machine really gives: cores and memory after affinity, container limits and hyper-threads. No torch."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

ROOT = Path("/")


def cores(root: Path = ROOT) -> int:
    """How many threads can compute at the same time: allowed CPUs without second hyper-threads, at most the quota.

    Depends on what the process is given and not on how busy the machine is, so that a run that goes on has the same
    number of threads as before.
    """
    count = physical(allowed(), root)
    quota = cpu_quota(root)
    return count if quota is None else min(count, max(1, round(quota)))


def allowed() -> set[int]:
    """The CPUs this process may run on."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def physical(cpus: set[int], root: Path = ROOT) -> int:
    """How many cores these CPUs are, where the system shows which of them are hyper-threads of one core."""
    found = set()
    for cpu in cpus:
        siblings = root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        found.add(_text(siblings) or str(cpu))
    return len(found)


def cpu_quota(root: Path = ROOT) -> float | None:
    """Cores' worth of time that the container allows (cgroup v2 and v1, every level above us), or None."""
    found = []
    for folder in _groups("cpu", root):
        limit, period = (_text(folder / "cpu.max") or "max 1").split()
        if limit == "max":  # not v2, or no limit
            limit = _text(folder / "cpu.cfs_quota_us") or "-1"
            period = _text(folder / "cpu.cfs_period_us") or "100000"
        if int(limit) > 0:
            found.append(int(limit) / int(period))
    return min(found, default=None)


def memory(root: Path = ROOT) -> int:
    """Bytes of memory this process may use: the machine's, or the container's limit where that is less; 0: unknown."""
    found = []
    for folder in _groups("memory", root):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _text(folder / name)
            if limit and limit != "max":
                found.append(int(limit))
    if hasattr(os, "sysconf"):  # not Windows
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(found, default=0)


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of this process's control groups and of all above them, as it sees them."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        here = top / path.lstrip("/")
        yield top
        while here != top and top in here.parents:
            yield here
            here = here.parent


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


Reading = Callable[[], float]


def free_cores(
    threads: int,
    *,
    seconds: float = 0.06,
    wall: Reading = time.perf_counter,
    spent: Reading = time.thread_time,
) -> float:
    """How many cores `threads` threads get right now if all of them compute: their processor time over wall time.

    `wall` and `spent` read the clock and a thread's own processor time.
    """
    block = bytes(1 << 20)
    shares: list[float] = []
    ready = threading.Barrier(threads)

    def work() -> None:
        ready.wait()
        began, before = wall(), spent()
        while (now := wall()) < began + seconds:
            sha256(block)  # computes without the interpreter's lock
        shares.append((spent() - before) / (now - began))

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(shares)


def crowding(threads: int, free: float) -> str | None:
    """One line that says what to do where `threads` threads do not really run in parallel, else None.

    A parallel operation waits for its slowest thread, so one thread too many costs more than one too few.
    """
    if threads - free <= max(0.4, 0.1 * threads):
        return None
    if threads == 1:
        return f"this process gets {free:.1f} of a core: other programs are computing; wait for them"
    better = max(1, int(free + 0.1))
    return (
        f"{threads} threads share {free:.1f} free cores: other programs are computing; wait for them, or run with "
        f"OMP_NUM_THREADS={better}"
    )
