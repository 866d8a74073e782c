"""Which kernel is used: found, chosen once, kept for a run that is resumed, harmless where it is missing."""

import ctypes
import json
import logging
import shutil
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


def restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process: nothing is chosen yet."""
    monkeypatch.setattr(library, "_kept", [])


def test_without_a_built_kernel_torch_is_used_and_it_is_said_once(
    no_kernel: Path, caplog: pytest.LogCaptureFixture
) -> None:
    library._say.cache_clear()
    for _ in range(3):
        assert kernel(ROW, ROW, ROW, ROW) is None
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "heedful.engine.kernels.build" in caplog.text
    assert not no_kernel.exists(), "nothing is built unasked"


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
    stage(tmp_path / "rl").begin()
    shutil.copytree(cache, no_kernel)
    library._loaded.cache_clear()
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
        monkeypatch.setenv("HEEDFUL_CACHE", str(tmp_path / "elsewhere"))
        library.place.cache_clear()
    else:
        monkeypatch.setattr(library, "_loaded", lambda path: ("another", built))
    stage(tmp_path / "rl").begin()
    with pytest.raises(UserError, match=r"begun with the compiled kernels .* resume=false"):
        library.built()


def test_a_damaged_library_is_not_used(no_kernel: Path, caplog: pytest.LogCaptureFixture) -> None:
    library.place().parent.mkdir(parents=True)
    library.place().write_bytes(b"not a library")
    assert library.built() is None
    assert "do not load" in caplog.text


def test_building_without_a_compiler_is_one_sentence(
    no_kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"no C\+\+ compiler"):
        build.build()
    assert not no_kernel.exists()


def test_a_compiler_that_fails_leaves_nothing_behind(
    no_kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no such standard >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    with pytest.raises(UserError, match="no such standard"):
        build.build()
    assert list(library.place().parent.iterdir()) == []


def test_what_is_built_is_not_built_again(built: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert build.build() == library.place()
