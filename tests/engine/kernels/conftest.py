"""The compiled kernels, built once for these tests in a cache folder of their own."""

import ctypes
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heedful.engine.kernels import build, library
from heedful.errors import UserError


@pytest.fixture(autouse=True)
def _fresh_choice(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test chooses anew, and what it chose is forgotten after it."""
    monkeypatch.delenv("HEEDFUL_KERNELS", raising=False)
    monkeypatch.setattr(library, "_kept", [])
    library._say.cache_clear()
    yield
    build.place.cache_clear()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder in which the kernel is built; tests that need it skip without a compiler."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEEDFUL_CACHE", str(folder))
        build.place.cache_clear()
        try:
            build.build()
        except UserError as error:
            pytest.skip(str(error))
        finally:
            build.place.cache_clear()
    return folder


@pytest.fixture
def built(cache: Path, monkeypatch: pytest.MonkeyPatch) -> ctypes.CDLL:
    """The kernel, in use by this process for the test."""
    monkeypatch.setenv("HEEDFUL_CACHE", str(cache))
    build.place.cache_clear()
    found = library.built()
    assert found is not None
    return found


@pytest.fixture
def triton_rows() -> Iterator[Any]:
    """Triton's kernels, in its interpreter: they compute on the CPU what they would on CUDA."""
    pytest.importorskip("triton", reason="triton is not installed: its kernels cannot be interpreted")
    with np.errstate(over="ignore"):  # what overflows to infinity on a GPU is a warning in numpy
        yield import_module("heedful.engine.kernels.gpu.rows")


@pytest.fixture(params=["compiled", "triton"])
def kernels(request: pytest.FixtureRequest) -> Any:
    """Either kind of kernels: both are held to the same laws."""
    return request.getfixturevalue("built" if request.param == "compiled" else "triton_rows")


@pytest.fixture
def no_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("HEEDFUL_CACHE", str(tmp_path / "cache"))
    build.place.cache_clear()
    return tmp_path / "cache"


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)


@pytest.fixture
def tiles(built: ctypes.CDLL) -> ctypes.CDLL:
    """The kernels, where the processor has matrix tiles."""
    if not built.heedful_tiles():
        pytest.skip("this processor has no matrix tiles")
    return built
