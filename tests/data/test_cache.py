"""One cache folder for everything that can be made again."""

from pathlib import Path

import pytest

from heedful.data import cache


def test_the_cache_lies_where_it_is_asked_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEEDFUL_CACHE", str(tmp_path))
    assert cache.folder() == tmp_path
    monkeypatch.setenv("HEEDFUL_CACHE", "")
    assert cache.folder() is None
    monkeypatch.delenv("HEEDFUL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "heedful"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "heedful"
