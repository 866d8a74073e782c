"""Killed at any point and started again = never killed, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from faults import lives
from faults.outcome import left_overs, outcome
from heedful import cli
from loop import tiny_loop

STEP = "heedful.engine.optim:Optimizer.step"
SUBMIT = "heedful.data.store.store:Store.submit_many"
SCORES = "heedful.stages.evaluate:measured"


def test_the_outcome_holds_all_that_a_loop_makes(undisturbed: dict[str, Any]) -> None:
    """So that an equal outcome means something."""
    made = {"pretrain", "sft", "round-1/reward", "round-1/rl", "round-1/prefer"}
    for stage in made:
        assert f"{stage}/model/model.safetensors" in undisturbed
        assert len(undisturbed[f"{stage}/metrics.jsonl"]) > 1
    assert {"round-1/rl/critic/model.safetensors", "round-1/feedback/preferences.jsonl"} <= undisturbed.keys()
    assert undisturbed["round-1/evaluate/stage.json"]["figures"].keys() == {"sft", "prefer", "rl"}
    weights = [digest for name, digest in undisturbed.items() if name.endswith(".safetensors")]
    assert len(weights) == len(set(weights)) == 6
    assert set(undisturbed["judgements"].values()) == {1}
    assert len({row["kl_coef"] for row in undisturbed["round-1/rl/metrics.jsonl"]}) == 3


@pytest.mark.parametrize("often", [tiny_loop.OFTEN, {}], ids=["saved at each step", "never saved"])
def test_killed_in_the_middle_of_stages(
    tmp_path: Path, undisturbed: dict[str, Any], often: dict[str, Any]
) -> None:
    """In pretraining, between two commits of feedback, in reinforcement learning, in evaluation."""
    folder = tmp_path / "run"
    steps = {name: len(rows) for name, rows in undisturbed.items() if name.endswith("metrics.jsonl")}
    pretraining, tuning = steps["pretrain/metrics.jsonl"], steps["sft/metrics.jsonl"]
    before_rl = steps["round-1/reward/metrics.jsonl"] + steps["round-1/prefer/metrics.jsonl"]
    # Two of an iteration's four steps of reinforcement learning are done: no place to save.
    deaths = [(pretraining - 2, STEP), (2 + tuning, STEP), (2, SUBMIT), (before_rl + 7, STEP), (4, SCORES)]
    for n, target in deaths:
        ended = lives.killed_at_call(n, target, tiny_loop.run, folder, **often)
        assert ended == lives.KILLED, target
        assert left_overs(folder) or not often or target in (SUBMIT, SCORES)
    assert lives.live(tiny_loop.run, folder, **often) == 0
    assert outcome(folder) == undisturbed
    assert left_overs(folder) == []


def test_a_finished_loop_does_nothing_but_print(undisturbed_folder: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in undisturbed_folder.rglob("*") if p.is_file()}
    # Nothing is computed: a step of any optimizer would end this life.
    assert lives.killed_at_call(1, STEP, tiny_loop.run, undisturbed_folder) == 0
    after = {p: p.stat().st_mtime_ns for p in undisturbed_folder.rglob("*") if p.is_file()}
    assert {p.name for p in after if after[p] != before.get(p)} == {"run.json", "report.html", "summary.json"}
    assert after.keys() == before.keys()


def command(*words: str) -> None:
    """`heedful WORDS...`"""
    sys.argv = ["heedful", *words]
    cli.main()


def test_sigterm_stops_at_once_and_the_same_command_continues(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    folder, said = tmp_path / "run", tmp_path / "said"
    words = ["loop", str(tiny_loop.recipe(tmp_path)), f"output={folder}", *tiny_loop.words(**tiny_loop.OFTEN)]
    process = lives.start(str(said), command, *words)
    while process.is_alive() and not (folder / "pretrain" / "checkpoint-3").exists():
        time.sleep(0.005)
    process.terminate()
    assert lives.ended(process) == 128 + signal.SIGTERM
    assert said.read_text().splitlines()[-1] == "heedful: stopped; the same command continues"
    assert "Traceback" not in said.read_text()
    assert not (folder / "pretrain" / "model").exists()
    assert lives.live(command, *words) == 0
    assert outcome(folder) == undisturbed


@pytest.mark.slow
def test_the_real_command_is_killed_and_started_again(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    """Processes with nothing shared, as a user has them."""
    folder = tmp_path / "run"
    line = [sys.executable, "-m", "heedful", "loop", str(tiny_loop.recipe(tmp_path)), f"output={folder}"]
    line += tiny_loop.words(**tiny_loop.OFTEN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for place in ("pretrain/checkpoint-3", "round-1/rl/checkpoint-4"):
        with subprocess.Popen(line, stderr=subprocess.DEVNULL, env=environment) as process:
            while process.poll() is None and not (folder / place).exists():
                time.sleep(0.01)
            process.kill()
        assert process.returncode == lives.KILLED
    again = subprocess.run(line, capture_output=True, text=True, env=environment)
    assert again.returncode == 0, again.stderr
    assert outcome(folder) == undisturbed


@pytest.mark.slow
def test_killed_before_each_thing_that_is_done_to_the_disk(
    tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    """Life n is killed before the n-th write that it makes, so that the deaths walk through the whole loop."""
    folder, deaths = tmp_path / "run", 0
    while lives.killed_at_write(deaths + 1, tiny_loop.run, folder, **tiny_loop.OFTEN) == lives.KILLED:
        deaths += 1
    assert deaths > 40
    assert outcome(folder) == undisturbed
    assert left_overs(folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_times(tmp_path: Path, undisturbed: dict[str, Any], seed: int) -> None:
    """Each life may last a little longer than the one before, so that it gets somewhere; 13 deaths or more."""
    deaths, draw = 0, random.Random(seed)
    while deaths < 13:
        folder = tmp_path / str(deaths)
        while lives.killed_after(
            draw.uniform(0.1, 0.3 + 0.05 * deaths), tiny_loop.run, folder, **tiny_loop.OFTEN
        ):
            deaths += 1
        assert outcome(folder) == undisturbed
        assert left_overs(folder) == []
