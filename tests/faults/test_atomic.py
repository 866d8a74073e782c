"""Files and folders are whole or absent, and a folder has one owner."""

import errno
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from faults import lives
from heedful.data import atomic
from heedful.errors import UserError


def write_folder(final: Path, text: str) -> None:
    with atomic.new_folder(final) as folder:
        (folder / "a").write_text(text)
        (folder / "b").write_text(text)


def test_a_text_killed_at_any_write_is_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "file"
    ended, deaths = lives.KILLED, 0
    while ended == lives.KILLED:
        atomic.write_text(path, "old")
        deaths += 1
        ended = lives.killed_at_write(deaths, atomic.write_text, path, "new")
        assert path.read_text() in ("old", "new")
    assert (ended, path.read_text(), [p.name for p in tmp_path.iterdir()]) == (0, "new", ["file"])
    assert deaths > 4


def test_a_folder_killed_at_any_write_is_whole_or_absent(tmp_path: Path) -> None:
    final = tmp_path / "model"
    ended, deaths, absent = lives.KILLED, 0, 0
    while ended == lives.KILLED:
        write_folder(final, "old")
        assert [p.name for p in tmp_path.iterdir()] == ["model"]  # what the last death left is gone
        deaths += 1
        ended = lives.killed_at_write(deaths, write_folder, final, "new")
        absent += not final.exists()
        if final.exists():
            assert {p.read_text() for p in final.iterdir()} in ({"old"}, {"new"})
            assert len(list(final.iterdir())) == 2
    assert ended == 0
    assert {p.read_text() for p in final.iterdir()} == {"new"}
    assert absent == 1  # only between the two renames
    assert deaths > 8


def test_a_block_that_fails_leaves_the_old_folder(tmp_path: Path) -> None:
    write_folder(tmp_path / "model", "old")

    def half_written() -> None:
        with atomic.new_folder(tmp_path / "model") as folder:
            (folder / "a").write_text("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half_written()
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "a").read_text() == "old"


def test_a_text_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    atomic.write_text(path, "old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic.write_text(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_only_what_looks_like_a_system_error_becomes_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to do with it"), atomic.new_folder(tmp_path / "x"):
        raise ValueError("nothing to do with it (os error unknown)")


def test_json_must_be_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_second_holder_is_told_so(tmp_path: Path) -> None:
    busy = f"another heedful process is working in '{tmp_path}'"
    with atomic.lock(tmp_path):
        with pytest.raises(UserError, match=busy), atomic.lock(tmp_path):
            pass
        assert lives.live(hold_and_die, tmp_path) == 1
    with atomic.lock(tmp_path):
        pass


def hold_and_die(folder: Path) -> None:
    with atomic.lock(folder):
        (folder / "work").write_text("half done")
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_lock_dies_with_its_holder(tmp_path: Path) -> None:
    assert lives.live(hold_and_die, tmp_path) == lives.KILLED
    assert (tmp_path / ".lock").exists()
    with atomic.lock(tmp_path):
        pass


@pytest.mark.parametrize("there", [(), ("a",), ("a", "b")])
def test_a_lock_under_which_nothing_was_written_leaves_nothing(
    tmp_path: Path, there: tuple[str, ...]
) -> None:
    tmp_path.joinpath(*there).mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    with atomic.lock(tmp_path / "a" / "b"):
        pass
    with pytest.raises(UserError), atomic.lock(tmp_path / "a" / "b"):
        raise UserError("bad data")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_lock_keeps_what_was_written_under_it(tmp_path: Path) -> None:

    def stopped_midway() -> None:
        with atomic.lock(tmp_path / "a"):
            (tmp_path / "a" / "checkpoint").write_text("work")
            raise UserError("too late")

    with pytest.raises(UserError):
        stopped_midway()
    assert (tmp_path / "a" / "checkpoint").read_text() == "work"


def test_an_output_that_is_a_file_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="file' is a file: choose a folder"), atomic.lock(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_a_lock_that_the_disk_refuses_is_not_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def refused(*args: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(OSError, match=os.strerror(errno.ENOLCK)), atomic.lock(tmp_path):
        pass
