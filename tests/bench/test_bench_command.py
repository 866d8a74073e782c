"""The command: settings, faults of workers, and a whole small run; our losses against TRL's where TRL is at hand."""

import dataclasses
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from heedful.bench import environment, ours, run
from heedful.bench.config import BenchConfig
from heedful.bench.main import main
from heedful.bench.peers.job import Clock, Job
from heedful.bench.works import TRL, WORKS, Rival
from heedful.errors import UserError


def test_settings_are_lists_of_known_names() -> None:
    assert BenchConfig(only="sft, dpo").only == ("sft", "dpo")  # type: ignore[arg-type]
    assert set(BenchConfig().only) > set(WORKS)
    with pytest.raises(ValueError, match="'kto' is none of sft, reward"):
        BenchConfig(only="kto")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'C' is none of"):
        BenchConfig(models="C")  # type: ignore[arg-type]


def test_the_sides_of_a_work_stand_next_to_each_other() -> None:
    chosen = run.tasks(BenchConfig(only="dpo,sampling,queue"))  # type: ignore[arg-type]
    assert [(t.work, t.model, t.side) for t in chosen] == [
        ("ceiling", "T", "ours"),
        *[("dpo", m, s) for m in "AB" for s in ("ours", "trl")],
        *[("sampling", m, s) for m in "AB" for s in ("ours", "trl", "generate_bf16", "loop")],
        ("queue", "T", "ours"),
    ]


def test_a_summary_that_is_none_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    for name in ("x.json", "absent.json"):
        with pytest.raises(UserError, match=r"give the summary\.json"):
            main(BenchConfig(compare=tmp_path / name, output=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def environments(folder: Path, program: str) -> Path:
    """A stand-in for TRL's virtual environment: its Python is a shell script."""
    home = folder / f"trl-{TRL}"
    (home / "bin").mkdir(parents=True)
    (home / ".ready").touch()
    (home / "bin" / "python").write_text(f"#!/bin/sh\n{program}\n")
    (home / "bin" / "python").chmod(0o755)
    return folder


def test_a_rival_is_installed_with_our_versions_of_what_both_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(environment.venv, "create", lambda home, **how: home.mkdir())

    def pip(command: list[str], **how: Any) -> Any:
        asked.append([word for word in map(str, command) if "==" in word])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(environment.subprocess, "run", pip)
    for rival in {r.library: r for work in WORKS.values() for r in work.rivals}.values():
        for _ in range(2):  # the second time it is there
            environment.python(tmp_path, rival.library, rival.version)
    torch, transformers = (f"{n}=={version(n).partition('+')[0]}" for n in ("torch", "transformers"))
    assert asked == [
        [torch, transformers, f"trl=={WORKS['ppo'].rivals[0].version}"],
        [torch, "torchao==0.10.0", "torchtune==0.6.1"],
    ]


def test_a_worker_that_fails_is_tried_once_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything else is measured and written."""
    tries = tmp_path / "tries"
    rival = Rival("trl", TRL, "trl_trainers", 3.0)
    monkeypatch.setattr(run, "tasks", lambda config: [run.Task("sft", "T", rival)])
    config = BenchConfig(
        repeats=3,
        output=tmp_path / "out",
        environments=environments(tmp_path, f"echo once >> {tries}; echo 'no memory left' >&2; exit 1"),
    )
    with pytest.raises(UserError, match=r"1 measurements .* sft T by trl \(no memory left\)"):
        main(config)
    assert tries.read_text() == "once\n"
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["figures"] == {}
    assert "work" in capsys.readouterr().out


@pytest.mark.parametrize("work", ["sft", "reward", "dpo", "sampling", "grpo", "ppo"])
def test_our_side_of_every_work_runs(work: str, tmp_path: Path) -> None:
    run.prepare(tmp_path, {"T"}, seed=0)
    job = Job(
        work,
        str(tmp_path / "T"),
        str(tmp_path / "result.json"),
        "fp32",
        batch=2,
        samples=2,
        max_completion_length=8,
        warm=0,
        least=1,
        seconds=0,
    )
    clock = Clock(job)
    ours.WORKS[work](job, clock)
    assert clock.laps
    assert all(lap.samples > 0 and lap.tokens > 0 for lap in clock.laps)


@pytest.mark.slow
def test_a_whole_small_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sampling needs no TRL: this environment stands in for its own."""
    config = BenchConfig(
        only=("sampling",),
        models=("T",),
        repeats=1,
        seconds=0,
        threads=1,
        output=tmp_path / "out",
        environments=environments(tmp_path, f'exec {sys.executable} "$@"'),
    )
    summary = main(config)
    figures = summary["figures"]
    ours_rate = figures["bench/sampling-T/ours"]["value"]
    for rival in ("trl", "generate_bf16", "loop"):
        theirs = figures[f"bench/sampling-T/{rival}"]["value"]
        assert figures[f"bench/sampling-T/ratio_vs_{rival}"]["value"] == pytest.approx(ours_rate / theirs)
    assert 0 < figures["bench/sampling-T/share_of_floor"]["value"] < 1
    assert summary["threads"] == 1
    assert summary["peak_memory_bytes"] == figures["bench/sampling-T/memory"]["value"]
    assert "sampling T, tokens/s" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary


@pytest.mark.slow
@pytest.mark.parametrize("work", ["sft", "reward", "dpo"])
def test_loss_and_gradient_of_a_step_are_trls(work: str, tmp_path: Path) -> None:
    """Same model, same examples, fp32; DPO against another model, so that its margins are not zero."""
    rivals = Path(os.environ.get("HEEDFUL_TRL", "nowhere"))
    if not (rivals / f"trl-{TRL}" / ".ready").is_file():
        pytest.skip(f"TRL {TRL} is not at hand: set HEEDFUL_TRL to the `environments` of a `heedful bench`")
    run.prepare(tmp_path, {"T"}, seed=0)
    notes: dict[str, Any] = {}
    for side in ("ours", "trl"):
        result = tmp_path / f"{side}.json"
        job = Job(
            work,
            str(tmp_path / "T"),
            str(result),
            "fp32",
            WORKS[work].batch,
            warm=0,
            least=1,
            seconds=0,
            refer_to="reference",
        )
        if side == "ours":
            clock = Clock(job)
            ours.WORKS[work](job, clock)
            clock.finish()
        else:
            (tmp_path / "job.json").write_text(json.dumps(dataclasses.asdict(job)))
            subprocess.run(
                [environment.python(rivals, "trl", TRL), "-m", "peers.trl_trainers", tmp_path / "job.json"],
                env=environment.variables(1) | {"PYTHONPATH": str(run.HERE)},
                capture_output=True,
                check=True,
            )
        notes[side] = json.loads(result.read_text())["notes"]
    assert notes["ours"]["loss"] == pytest.approx(notes["trl"]["loss"], rel=1e-5)
    assert notes["ours"]["grad_norm"] == pytest.approx(notes["trl"]["grad_norm"], rel=2e-5)
