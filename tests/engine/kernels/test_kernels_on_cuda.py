"""A run on CUDA goes on with the kernels that it began with, or says why it cannot; told without a GPU."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from heedful.engine.kernels import choice
from heedful.engine.stage import Stage, StageConfig
from heedful.errors import UserError

TRITON = ModuleType("rows")


@pytest.fixture(autouse=True)
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process whose models lie on a GPU where Triton works."""
    monkeypatch.setenv("HEEDFUL_DEVICE", "cuda")
    monkeypatch.setattr(choice, "_tried", lambda: TRITON)
    monkeypatch.setattr(choice, "version", lambda name: "3.3.0")
    monkeypatch.setattr(choice, "_kept", [])
    choice._name.cache_clear()
    yield
    choice._name.cache_clear()


def stage(folder: Path) -> Stage:
    return Stage("rl", StageConfig(output=folder), {})


def restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process."""
    monkeypatch.setattr(choice, "_kept", [])
    choice._name.cache_clear()


def written(folder: Path) -> str:
    name: str = json.loads((folder / "stage.json").read_text())["cuda_kernels"]
    return name


def test_a_run_writes_down_its_kernels_and_goes_on_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(tmp_path).begin()
    assert written(tmp_path).startswith("triton-3.3.0-")
    restarted(monkeypatch)
    stage(tmp_path).begin()
    assert choice.on_cuda() is TRITON


@pytest.mark.parametrize("why", ["turned off", "gone", "another"])
def test_a_run_whose_kernels_are_not_at_hand_says_so_when_it_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    stage(tmp_path).begin()
    restarted(monkeypatch)
    if why == "turned off":
        monkeypatch.setenv("HEEDFUL_KERNELS", "0")
    elif why == "gone":
        monkeypatch.setattr(choice, "_tried", lambda: None)
    else:
        monkeypatch.setattr(choice, "version", lambda name: "3.4.0")
    stage(tmp_path).begin()
    with pytest.raises(UserError, match=r"begun with the kernels triton-3\.3\.0.* resume=false"):
        choice.on_cuda()


def test_a_run_begun_without_them_goes_on_without_and_so_do_the_stages_that_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HEEDFUL_KERNELS", "0")
    stage(tmp_path).begin()
    assert written(tmp_path) == "torch"
    for finished in (False, True):
        restarted(monkeypatch)
        monkeypatch.delenv("HEEDFUL_KERNELS", raising=False)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert (stage(tmp_path).finished() is not None) == finished
            if not finished:
                stage(tmp_path).begin()
        assert "goes on so" in caplog.text
        assert choice.on_cuda() is None
        stage(tmp_path).finish()
        assert written(tmp_path) == "torch"


def test_a_run_that_began_on_a_cpu_is_not_held_to_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEEDFUL_DEVICE", "cpu")
    stage(tmp_path).begin()
    assert "cuda_kernels" not in json.loads((tmp_path / "stage.json").read_text())
    monkeypatch.setenv("HEEDFUL_DEVICE", "cuda")
    stage(tmp_path).begin()
    assert choice.on_cuda() is TRITON
