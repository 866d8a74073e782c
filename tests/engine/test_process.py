"""What the process says about its threads."""

from pathlib import Path

import pytest
import torch

from heedful.engine import allocator, machine, process


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(process.terminal, "say", lines.append)
    return lines


def with_threads(monkeypatch: pytest.MonkeyPatch, threads: int, free: float) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(machine, "free_cores", lambda threads: free)


def test_threads_that_wait_for_others_are_one_line(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    with_threads(monkeypatch, 4, 3.9)
    process.prepare()
    assert said == []
    with_threads(monkeypatch, 4, 2.2)
    process.prepare()
    assert len(said) == 1
    assert "4 threads share 2.2 free cores" in said[0]


def test_the_number_of_threads_is_the_machines_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    monkeypatch.setattr(machine, "cores", lambda: 3)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    process.prepare()
    monkeypatch.delenv("OMP_NUM_THREADS")
    process.prepare()
    assert set_to == [3]


def test_a_run_that_goes_on_with_other_threads_says_so(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    with_threads(monkeypatch, 4, 4.0)
    process.say_if_changed("sft", {"threads": 4, "processes": 1})
    assert said == []
    process.say_if_changed("sft", {"threads": 2})
    assert len(said) == 1
    assert said[0].endswith("OMP_NUM_THREADS=2 keeps it equal")
    process.say_if_changed("sft", {"threads": 4, "processes": 3})
    assert said[1].startswith("sft ran with 3 processes and goes on with 1")
    assert said[1].endswith("--processes 3 keeps it equal")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux forgets")
def test_the_peak_is_of_what_came_after_it_was_forgotten() -> None:
    torch.ones(40 << 20)  # 168 MB, freed at once
    allocator.release()
    process.forget_peak_memory()
    before = process.peak_memory_bytes()
    torch.ones(20 << 20)
    assert 70e6 < process.peak_memory_bytes() - before < 100e6
