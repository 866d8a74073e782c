"""A stage's folder: done once, redone when what it is made from changed, never mixed, never lost by mistake."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import Field
from torch import nn

from heedful.data import atomic
from heedful.engine import checkpoint, terminal
from heedful.engine.checkpoint import Checkpoint
from heedful.engine.fit import Step
from heedful.engine.optim import Optimizer
from heedful.engine.stage import Stage, StageConfig, fingerprint
from heedful.errors import UserError


class Config(StageConfig):
    data: Path | None = None
    model: str | None = None
    learning_rate: float = 0.1
    models: dict[str, str] = Field(default_factory=dict)


class Killed(BaseException):
    """Stands for a death: nothing may catch it."""


def config(folder: Path, **values: Any) -> Config:
    return Config(output=folder / "out", **{"data": folder / "data.txt", "save_every": 0.0, **values})


def stage(config: Config, name: str = "toy") -> Stage:
    return Stage(name, config, {"data": config.data, "model": config.model})


def counted(found: Checkpoint | None, start: int, total: int) -> Iterator[Step]:
    for number in range(start, total):
        yield Step(number, 1 / (number + 1), 1.0, 1, 1.0, {"seen": float(number)})


def run(config: Config, *, die_after: int | None = None, log: list[int] | None = None) -> dict[str, Any]:
    """A stage of five steps; `log` collects the number of each step that is taken."""
    here = stage(config)
    if (done := here.finished()) is not None:
        return done
    model = nn.Linear(1, 1)
    taken = here.steps(
        lambda found: counted(found, found.step if found else 0, 5),
        model,
        Optimizer(model, learning_rate=0.1),
        total=5,
    )
    for step in taken:
        if log is not None:
            log.append(step.number)
        if step.number == die_after:
            raise Killed
    atomic.write_text(here.folder / "model", "weights")
    return here.finish(value=42)


def steps_written(folder: Path) -> list[int]:
    text = (folder / "out" / "metrics.jsonl").read_text()
    return [json.loads(line)["step"] for line in text.splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data.txt").write_text("one")
    return tmp_path


def test_a_finished_stage_gives_its_result_and_writes_nothing(folder: Path) -> None:
    result = run(config(folder))
    assert result["value"] == 42
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    log: list[int] = []
    assert run(config(folder), log=log) == result
    assert log == []
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_a_finished_stage_keeps_no_checkpoints(folder: Path) -> None:
    run(config(folder))
    assert sorted(p.name for p in (folder / "out").iterdir()) == ["metrics.jsonl", "model", "stage.json"]


def test_looking_writes_nothing(folder: Path) -> None:
    assert stage(config(folder)).finished() is None
    assert not (folder / "out").exists()


@pytest.mark.parametrize("saves", [0.0, 1000.0])
def test_a_killed_stage_goes_on_and_counts_every_step_once(folder: Path, saves: float) -> None:
    with pytest.raises(Killed):
        run(config(folder, save_every=saves), die_after=3)
    log: list[int] = []
    run(config(folder, save_every=saves), log=log)
    # The step after which it died was not saved yet.
    assert log == ([3, 4] if saves == 0 else [0, 1, 2, 3, 4])
    assert steps_written(folder) == [0, 1, 2, 3, 4]


def test_metrics_that_were_cut_short_or_ran_ahead_are_mended(folder: Path) -> None:
    with pytest.raises(Killed):
        run(config(folder), die_after=2)
    with (folder / "out" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2}\n{"step": 3}\n{"step": 4, "lo')
    run(config(folder))
    assert steps_written(folder) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"learning_rate": 0.2}, "learning_rate was 0.1, is 0.2"),
        ({"seed": 7, "learning_rate": 0.2}, "learning_rate was 0.1, is 0.2; seed was 0, is 7"),
        ({"model": "some/name"}, "model=some/name is new"),
        ({"data": None}, "data is not given any more"),
    ],
)
def test_checkpoints_are_not_continued_with_other_settings(
    folder: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(Killed):
        run(config(folder), die_after=2)
    before = fingerprint(folder / "out")
    with pytest.raises(UserError, match=f"unfinished toy run with other settings \\({re.escape(said)}\\)"):
        run(config(folder, **change))
    assert fingerprint(folder / "out") == before
    log: list[int] = []
    run(config(folder), log=log)
    assert log == [2, 3, 4]


def test_a_changed_file_is_named(folder: Path) -> None:
    with pytest.raises(Killed):
        run(config(folder), die_after=2)
    (folder / "data.txt").write_text("two")
    with pytest.raises(UserError, match=re.escape(f"data={folder / 'data.txt'} has other content")):
        run(config(folder))


@pytest.mark.parametrize("learning_rate", [0.1, 0.2])
def test_resume_false_discards_checkpoints(folder: Path, learning_rate: float) -> None:
    with pytest.raises(Killed):
        run(config(folder), die_after=2)
    log: list[int] = []
    run(config(folder, learning_rate=learning_rate, resume=False), log=log)
    assert log == [0, 1, 2, 3, 4]
    assert steps_written(folder) == [0, 1, 2, 3, 4]


def test_resume_false_runs_a_finished_stage_again(folder: Path) -> None:
    run(config(folder))
    log: list[int] = []
    run(config(folder, resume=False), log=log)
    assert log == [0, 1, 2, 3, 4]


def test_without_a_checkpoint_there_is_nothing_to_lose(folder: Path) -> None:
    with pytest.raises(Killed):
        run(config(folder, save_every=1000.0), die_after=2)
    log: list[int] = []
    run(config(folder, learning_rate=0.2), log=log)
    assert log == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "change", [{"learning_rate": 0.2}, {"seed": 1}, {"model": "some/name"}, {"data": None}]
)
def test_a_finished_stage_with_other_settings_runs_again(folder: Path, change: dict[str, Any]) -> None:
    run(config(folder))
    log: list[int] = []
    run(config(folder, **change), log=log)
    assert log == [0, 1, 2, 3, 4]
    run(config(folder, **change), log=log)
    assert len(log) == 5


def test_when_the_new_run_is_killed_the_old_settings_are_not_finished(folder: Path) -> None:
    """Its files are being replaced: what stood there no longer belongs together."""
    run(config(folder))
    with pytest.raises(Killed):
        run(config(folder, learning_rate=0.2, save_every=1000.0), die_after=2)
    log: list[int] = []
    run(config(folder), log=log)
    assert log == [0, 1, 2, 3, 4]


def test_checkpoints_of_other_settings_that_escaped_removal_are_not_read(folder: Path) -> None:
    with pytest.raises(Killed):
        run(config(folder), die_after=3)
    shutil.copytree(folder / "out" / "checkpoint-3", folder / "kept")
    run(config(folder, learning_rate=0.2, resume=False))
    shutil.copytree(folder / "kept", folder / "out" / "checkpoint-3")
    log: list[int] = []
    run(config(folder, learning_rate=0.3), log=log)
    assert log == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("change", [{"save_every": 5.0}, {"resume": True}])
def test_how_often_it_saves_changes_nothing(folder: Path, change: dict[str, Any]) -> None:
    run(config(folder))
    log: list[int] = []
    run(config(folder, **change), log=log)
    assert log == []


def test_content_counts_and_not_the_place(folder: Path) -> None:
    run(config(folder))
    shutil.copy(folder / "data.txt", folder / "copy.txt")
    shutil.move(folder / "out", folder / "moved")
    again = config(folder, data=folder / "copy.txt").model_copy(update={"output": folder / "moved"})
    assert stage(again).finished() is not None
    (folder / "copy.txt").write_text("two")
    assert stage(again).finished() is None


def test_the_order_of_models_counts(folder: Path) -> None:
    """The first is the baseline."""

    def ordered(*names: str) -> Stage:
        models = {name: str(folder / "data.txt") for name in names}
        inputs = {f"models.{i}.{name}": path for i, (name, path) in enumerate(models.items())}
        return Stage("toy", config(folder, models=models), inputs)

    assert ordered("a", "b").identity == ordered("a", "b").identity
    assert ordered("a", "b").identity != ordered("b", "a").identity


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("resume", [True, False])
def test_the_folder_of_another_stage_is_left_alone(folder: Path, finished: bool, resume: bool) -> None:
    if finished:
        run(config(folder))
    else:
        with pytest.raises(Killed):
            run(config(folder), die_after=2)
    before = fingerprint(folder / "out")
    with pytest.raises(UserError, match="holds a run of toy: choose another output for reward"):
        stage(config(folder, resume=resume), "reward").finished()
    assert fingerprint(folder / "out") == before


def test_what_the_user_put_into_the_folder_stays(folder: Path) -> None:
    run(config(folder))
    (folder / "out" / "notes.txt").write_text("mine")
    run(config(folder, learning_rate=0.2))
    run(config(folder, resume=False))
    assert (folder / "out" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"identity": 3}', '{"identity": {"stage": "toy"}}', "\0"])
def test_a_damaged_record_is_an_error_that_says_what_to_do(folder: Path, text: str) -> None:
    run(config(folder))
    (folder / "out" / "stage.json").write_text(text)
    with pytest.raises(UserError, match=r"stage\.json' is damaged: remove it to run toy anew"):
        run(config(folder))
    (folder / "out" / "stage.json").unlink()
    assert run(config(folder))["value"] == 42


def test_a_folder_is_its_names_and_contents(tmp_path: Path) -> None:
    seen = set()
    for files in ({"a": "1"}, {"b": "1"}, {"a": "2"}, {"a": "1", "b": ""}, {"d/a": "1"}):
        shutil.rmtree(tmp_path / "x", ignore_errors=True)
        for name, text in files.items():
            (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "x" / name).write_text(text)
        seen.add(fingerprint(tmp_path / "x"))
    assert len(seen) == 5


def test_checkpoints_that_outlived_the_end_are_removed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A death between the record of the result and their removal."""
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "discard", lambda folder: None)
        run(config(folder))
    assert list((folder / "out").glob("checkpoint-*"))
    run(config(folder))
    assert sorted(p.name for p in (folder / "out").iterdir()) == ["metrics.jsonl", "model", "stage.json"]


def test_a_run_that_goes_on_with_another_number_of_threads_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(terminal, "say", said.append)
    with pytest.raises(Killed):
        run(config(folder), die_after=3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    assert run(config(folder))["value"] == 42
    assert len(said) == 1
    assert "toy ran with 1 threads" in said[0]
