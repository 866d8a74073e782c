"""Which kernel is used: found, chosen once, kept for a run that is resumed, harmless where it is missing."""

import ctypes
import json
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from heedful.engine.kernels import build, library
from heedful.engine.kernels.decode import kernel
from heedful.engine.stage import Stage, StageConfig
from heedful.errors import UserError

ROW = torch.zeros(1, dtype=torch.long)


def stage(folder: Path) -> Stage:
    return Stage("rl", StageConfig(output=folder), {})


def compiler(folder: Path, does: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a compiler of our own in place; the file has a line for each of its calls."""
    script, calls = folder / "compiler", folder / "calls"
    script.write_text(f"#!/bin/sh\necho >> {calls}\n{does}\n")
    script.chmod(0o755)
    monkeypatch.setenv("CXX", str(script))
    return calls


def restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process: nothing is chosen yet."""
    monkeypatch.setattr(library, "_kept", [])


def test_where_they_cannot_be_built_torch_is_used_and_it_is_said_once(
    no_kernel: Path, no_compiler: None, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        assert kernel(ROW, ROW, ROW, ROW) is None
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "no C++ compiler" in caplog.text
    assert not no_kernel.exists()


def test_they_are_built_at_first_use_once_for_all(
    cache: Path, no_kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = compiler(tmp_path, f'exec {build._compiler()} "$@"', monkeypatch)
    with ThreadPoolExecutor(3) as pool:
        names = set(pool.map(lambda _: library.available(), range(3)))
    assert names == {library.at_hand()} != {library.TORCH}
    assert len(calls.read_text().splitlines()) == len(build.SOURCES) + 1, "and linked"


def test_nothing_is_built_where_they_are_turned_off_or_an_old_run_goes_on(
    no_kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.keep(library.TORCH)
    assert library.built() is None
    restarted(monkeypatch)
    monkeypatch.setenv("HEEDFUL_KERNELS", "0")
    assert library.built() is None
    assert not no_kernel.exists()


def test_a_cache_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HEEDFUL_CACHE", str(tmp_path / "file"))
    build.place.cache_clear()
    assert library.built() is None
    assert "cannot be kept" in caplog.text


def test_the_kernel_can_be_turned_off_and_that_is_not_complained_about(
    built: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    restarted(monkeypatch)
    monkeypatch.setenv("HEEDFUL_KERNELS", "0")
    assert library.built() is None
    assert not caplog.records


def test_a_kernel_that_is_built_while_a_run_lasts_is_not_used_by_it(
    cache: Path, no_kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.keep(library.TORCH)
    stage(tmp_path / "rl").begin()
    shutil.copytree(cache, no_kernel)
    assert library.available() != library.TORCH
    assert library.built() is None, "the process that runs goes on as it was"
    restarted(monkeypatch)
    stage(tmp_path / "rl").begin()
    assert library.built() is None, "and so does the one that resumes"
    stage(tmp_path / "rl").finish()
    restarted(monkeypatch)
    assert stage(tmp_path / "rl").finished() is not None
    assert library.in_use() == library.TORCH, "and the stages that follow a finished one"


def test_a_stage_that_begins_anew_uses_the_kernel_that_is_there(
    built: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "_kept", [library.TORCH])
    stage(tmp_path / "rl").begin()
    restarted(monkeypatch)
    Stage("rl", StageConfig(output=tmp_path / "rl", resume=False), {}).begin()
    assert library.built() is built
    assert json.loads((tmp_path / "rl" / "stage.json").read_text())["decode_kernel"] == library.available()


def test_a_run_of_an_earlier_version_goes_on_with_torch(
    built: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(tmp_path / "rl").begin()
    file = tmp_path / "rl" / "stage.json"
    file.write_text(json.dumps({"identity": json.loads(file.read_text())["identity"]}))
    restarted(monkeypatch)
    stage(tmp_path / "rl").begin()
    assert library.built() is None


@pytest.mark.parametrize("why", ["turned off", "gone", "another"])
def test_a_run_whose_kernel_is_not_at_hand_says_so_when_it_samples(
    built: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    stage(tmp_path / "rl").begin()
    restarted(monkeypatch)
    if why == "turned off":
        monkeypatch.setenv("HEEDFUL_KERNELS", "0")
    elif why == "gone":
        monkeypatch.setenv("HEEDFUL_CACHE", "")
        build.place.cache_clear()
    else:
        monkeypatch.setattr(library, "_library", lambda: ("another", built))
    stage(tmp_path / "rl").begin()
    with pytest.raises(UserError, match=r"begun with the compiled kernels .* resume=false"):
        library.built()


def test_a_damaged_library_is_not_used(no_kernel: Path, caplog: pytest.LogCaptureFixture) -> None:
    build.place().parent.mkdir(parents=True)
    build.place().write_bytes(b"not a library")
    assert library.built() is None
    assert "do not load" in caplog.text


def test_building_without_a_compiler_is_one_sentence(no_kernel: Path, no_compiler: None) -> None:
    with pytest.raises(UserError, match=r"no C\+\+ compiler"):
        build.build()
    assert not no_kernel.exists()


def test_a_compiler_that_fails_is_asked_once_and_again_when_told(
    no_kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = compiler(tmp_path, "echo no such standard >&2; exit 1", monkeypatch)
    assert library.built() is None
    assert "no such standard" in caplog.text
    once = calls.read_text()
    restarted(monkeypatch)
    assert library.built() is None
    assert calls.read_text() == once
    assert "build` tries again" in caplog.text
    with pytest.raises(UserError, match="no such standard"):
        build.build()
    assert calls.read_text() == once * 2
    assert {p.name for p in build.place().parent.iterdir()} == {".lock", f"{build.place().stem}.failed"}


def test_a_run_whose_kernels_were_removed_gets_them_again(
    built: ctypes.CDLL, no_kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(tmp_path / "rl").begin()
    assert not no_kernel.exists()
    restarted(monkeypatch)
    stage(tmp_path / "rl").begin()
    assert library.built() is not None, "the same compiler writes the same bytes"
    assert no_kernel.exists()


def test_what_is_built_is_not_built_again(built: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert build.build() == build.place()
