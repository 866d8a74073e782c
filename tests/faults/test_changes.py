"""Other settings: what depends on them is made again, and comes out as in a folder of its own."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from faults import lives
from faults.outcome import left_overs, outcome
from loop import tiny_loop

STEP = "heedful.engine.optim:Optimizer.step"
OTHER = {"sft__learning_rate": 3e-3}


def without_store(found: dict[str, Any]) -> dict[str, Any]:
    """An outcome without what the store holds from other times."""
    return {name: value for name, value in found.items() if name != "judgements"}


def test_a_changed_setting_gives_what_a_fresh_loop_gives_and_so_does_changing_it_back(
    tmp_path: Path, undisturbed_folder: Path, undisturbed: dict[str, Any]
) -> None:
    fresh, changed = tmp_path / "fresh", tmp_path / "changed"
    assert lives.live(tiny_loop.run, fresh, **OTHER) == 0
    expected = without_store(outcome(fresh))
    assert expected != without_store(undisturbed)
    shutil.copytree(undisturbed_folder, changed)
    before = (changed / "pretrain" / "stage.json").stat().st_mtime_ns
    assert lives.live(tiny_loop.run, changed, **OTHER) == 0
    assert without_store(outcome(changed)) == expected
    assert (changed / "pretrain" / "stage.json").stat().st_mtime_ns == before
    assert lives.live(tiny_loop.run, changed) == 0
    found = outcome(changed)
    assert without_store(found) == without_store(undisturbed)
    # Every judgement that was ever made is still there, once.
    assert set(found["judgements"].values()) == {1}
    assert found["judgements"].keys() > undisturbed["judgements"].keys()
    assert left_overs(changed) == []


def test_checkpoints_of_other_settings_are_refused_until_discarded(
    tmp_path: Path, undisturbed: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    words = {**tiny_loop.OFTEN, "pretrain__learning_rate": 0.125}
    assert lives.killed_at_call(5, STEP, tiny_loop.run, folder, **words) == lives.KILLED
    assert lives.live(tiny_loop.run, folder, **tiny_loop.OFTEN) == 1
    said = capfd.readouterr().out
    assert "learning_rate was 0.125, is 0.003" in said
    assert "resume=false" in said
    assert lives.live(tiny_loop.run, folder, resume="false", **tiny_loop.OFTEN) == 0
    assert outcome(folder) == undisturbed


def test_resume_false_makes_everything_again(tmp_path: Path, undisturbed_folder: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed_folder, folder)
    assert lives.killed_at_call(1, STEP, tiny_loop.run, folder, resume="false") == lives.KILLED
