"""A full disk, a read-only one, a folder that is taken, an interruption: one sentence, and nothing is lost."""

import errno
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from cli.kit import Heedful, Typed
from heedful.data import atomic
from heedful.engine import checkpoint


def full(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "disk/file")


def test_a_full_disk_is_one_sentence_and_the_same_command_continues(
    heedful: Heedful, typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert heedful(*typed("sft", tmp_path / "whole")).code == 0
    output = tmp_path / "out"
    line = [*typed("sft", output), "save_every=0"]
    saved = checkpoint.save

    def save_until_full(folder: Path, step: int, *args: Any, **kwargs: Any) -> None:
        with monkeypatch.context() as patch:
            if step == 3:
                patch.setattr(checkpoint, "save_file", full)
            saved(folder, step, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", save_until_full)
        ended = heedful(*line)
    assert ended.code == 2
    assert re.fullmatch(r"heedful: .*No space left on device.*the same command continues\n", ended.err)
    assert sorted(p.name for p in output.glob("*check*")) == ["checkpoint-1", "checkpoint-2"]
    assert heedful(*line).code == 0
    for run in ("whole", "out"):
        steps = [
            json.loads(row)["step"] for row in (tmp_path / run / "metrics.jsonl").read_text().splitlines()
        ]
        assert steps == list(range(len(steps)))
    weights = [(tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("whole", "out")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_folder_that_cannot_be_written_is_one_sentence(
    heedful: Heedful, typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Root may write everywhere, so the system's answer is played."""

    def refused(path: Any, *args: Any, **kwargs: Any) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(os, "mkdir", refused)
    ended = heedful(*typed("sft", tmp_path / "out"))
    assert ended.code == 2
    assert ended.err.startswith(f"heedful: '{tmp_path / 'out'}' cannot be used: {os.strerror(number)}")
    assert ended.err.count("\n") == 1


def test_an_output_that_is_a_file_is_one_sentence(heedful: Heedful, typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    ended = heedful(*typed("sft", tmp_path / "out"))
    assert (ended.code, ended.err) == (
        2,
        f"heedful: '{tmp_path / 'out'}' is a file: choose a folder as output\n",
    )
    inside = heedful(*typed("sft", tmp_path / "out" / "in"))
    assert inside.code == 2
    assert "Not a directory" in inside.err
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("verb", ["sft", "loop"])
def test_a_second_process_is_told_that_the_folder_is_taken(
    heedful: Heedful, typed: Typed, tmp_path: Path, verb: str
) -> None:
    output = tmp_path / "out"
    line = typed("sft", output) if verb == "sft" else ["loop", "small", f"output={output}"]
    with atomic.lock(output):
        ended = heedful(*line)
    assert ended.code == 2
    assert re.fullmatch(r"heedful: another heedful process is working in '.*out': wait .*\n", ended.err)


def test_interrupted_is_one_line(
    heedful: Heedful, typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", interrupted)
    ended = heedful(*typed("sft", tmp_path / "out"), "save_every=0")
    assert (ended.code, ended.err) == (130, "heedful: stopped; the same command continues\n")


def test_a_fault_of_ours_keeps_its_traceback(
    heedful: Heedful, typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(checkpoint, "latest", broken)
    with pytest.raises(ZeroDivisionError):
        heedful(*typed("sft", tmp_path / "out"))


def test_changed_settings_refuse_name_both_values_and_can_be_discarded(
    heedful: Heedful, typed: Typed, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = [*typed("sft", tmp_path / "out"), "save_every=0"]
    saved = checkpoint.save

    def interrupted(folder: Path, step: int, *args: Any, **kwargs: Any) -> None:
        saved(folder, step, *args, **kwargs)
        if step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", interrupted)
        assert heedful(*line).code == 130
    ended = heedful(*line, "learning_rate=0.125")
    assert ended.code == 2
    assert "learning_rate was 2e-05, is 0.125" in ended.err
    assert "resume=false" in ended.err
    with data["conversations"].open("a") as file:
        file.write('{"prompt": "One more?", "completion": "Yes."}\n')
    assert f"data={data['conversations']} has other content" in heedful(*line).err
    assert heedful(*line, "resume=false").code == 0
