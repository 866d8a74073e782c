"""What a machine gives, read from the files that a kernel would show; threads that do not run in parallel."""

import itertools
import threading
from pathlib import Path

import pytest

from heedful.engine import machine

GB = 2**30


def written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


V2 = {"proc/self/cgroup": "0::/team/job"}
V1 = {"proc/self/cgroup": "8:memory:/job\n4:cpu,cpuacct:/job\n0::/"}


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        (V2 | {"sys/fs/cgroup/team/job/cpu.max": "max 100000"}, None),
        (V2 | {"sys/fs/cgroup/team/job/cpu.max": "150000 100000"}, 1.5),
        (V2 | {"sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5),  # a container's own root
        (V2 | {"sys/fs/cgroup/team/job/cpu.max": "400000 100000", "sys/fs/cgroup/team/cpu.max": "3 1"}, 3.0),
        (V1 | {"sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "-1"}, None),
        (V1 | {"sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "200000"}, 2.0),
        (
            V1
            | {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "25000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "50000"},
            0.5,
        ),
    ],
)
def test_the_smallest_quota_of_all_levels_counts(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    assert machine.cpu_quota(written(tmp_path, files)) == quota


def test_cores_are_allowed_cpus_within_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "allowed", lambda: set(range(8)))
    assert machine.cores(tmp_path) == 8
    written(tmp_path, V2 | {"sys/fs/cgroup/team/job/cpu.max": "250000 100000"})
    assert machine.cores(tmp_path) == 2
    written(tmp_path, {"sys/fs/cgroup/team/job/cpu.max": "20000 100000"})
    assert machine.cores(tmp_path) == 1


def test_two_hyper_threads_are_one_core(tmp_path: Path) -> None:
    topology = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    written(tmp_path, {topology.format(cpu): f"{cpu % 4},{cpu % 4 + 4}" for cpu in range(8)})
    assert machine.physical(set(range(8)), tmp_path) == 4
    assert machine.physical({0, 4}, tmp_path) == 1
    assert machine.physical({0, 1, 5}, tmp_path) == 2


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        (V2 | {"sys/fs/cgroup/team/job/memory.max": "max"}, None),
        (V2 | {"sys/fs/cgroup/team/job/memory.max": f"{GB}"}, GB),
        (
            V2
            | {"sys/fs/cgroup/team/job/memory.max": f"{GB}", "sys/fs/cgroup/team/memory.max": f"{GB // 2}"},
            GB // 2,
        ),
        (V1 | {"sys/fs/cgroup/memory/job/memory.limit_in_bytes": f"{GB}"}, GB),
        (V1 | {"sys/fs/cgroup/memory/job/memory.limit_in_bytes": "9223372036854771712"}, None),
    ],
)
def test_memory_is_the_containers_limit_or_the_machines(
    tmp_path: Path, files: dict[str, str], limit: int | None
) -> None:
    whole = machine.memory(tmp_path / "nothing")
    assert whole > 0
    assert machine.memory(written(tmp_path, files)) == (min(whole, limit) if limit else whole)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_free_cores_are_processor_time_over_wall_time(share: float) -> None:
    """Each thread has its own fake clock, which a busy machine lets compute `share` of the time."""
    own = threading.local()

    def wall() -> float:
        own.now = getattr(own, "now", 0.0) + 0.01
        return float(own.now)

    def spent() -> float:
        return float(own.now) * share

    assert machine.free_cores(3, seconds=0.1, wall=wall, spent=spent) == pytest.approx(3 * share)


def test_a_line_says_what_to_do_only_where_threads_wait() -> None:
    assert machine.crowding(2, 1.95) is None
    assert machine.crowding(1, 0.9) is None
    assert machine.crowding(64, 60.0) is None
    line = machine.crowding(2, 1.1)
    assert line is not None
    assert line.startswith("2 threads share 1.1 free cores")
    assert line.endswith("OMP_NUM_THREADS=1")
    for threads, tenths in itertools.product(range(2, 20), range(5, 190, 7)):
        found = machine.crowding(threads, tenths / 10)
        if found and tenths / 10 <= threads:
            assert 1 <= int(found.rpartition("=")[2]) < threads
