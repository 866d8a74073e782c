"""The next answers come from a real server while the learner trains."""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from engine.toy_rl import LETTERS
from faults import lives
from heedful import cli
from heedful.engine import published
from serve import live

STEP = "heedful.engine.optim:Optimizer.step"
REWARD = "def vowels(completions, **_):\n    return [c.count('a') - len(c) / 9 for c in completions]\n"


@pytest.fixture
def served(models: dict[str, str], tmp_path: Path) -> Iterator[tuple[str, Path, Any]]:
    """A server's address, the folder that it watches, and its process."""
    folder = tmp_path / "policy"
    shutil.copytree(models["tiny"], folder)
    with live.process(tmp_path, str(folder), "watch=true") as (url, process):
        yield url, folder, process


def learn(output: Path, url: str, folder: Path, model: str, *words: str, tries: int = 9) -> None:
    """`heedful rl`: five iterations of two steps."""
    os.environ["HEEDFUL_API_KEY"] = live.KEY
    published.PATIENCE = tries
    output.parent.mkdir(exist_ok=True)
    prompts, reward = output.parent / "prompts.jsonl", output.parent / "reward.py"
    prompts.write_text("".join(json.dumps({"prompt": f"the {a}"}) + "\n" for a in LETTERS))
    reward.write_text(REWARD)
    sys.argv = [
        *("heedful", "rl", "local", f"model={model}", f"reward={reward}:vowels", f"prompts={prompts}"),
        *(f"sampler={url}/v1#policy", f"publish={folder}", "overlap=true", f"output={output}"),
        *("algorithm=grpo", "iterations=5", "prompts_per_step=4", "num_generations=4"),
        *("max_completion_length=6", "num_ppo_epochs=1", "num_mini_batches=2", "save_every=0"),
        *words,
    ]
    cli.main()


def rows(output: Path) -> list[dict[str, Any]]:
    file = output / "metrics.jsonl"
    found = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found]


def test_one_iteration_late_twice_the_same_and_killed_the_same(
    served: tuple[str, Path, Any], models: dict[str, str], tmp_path: Path
) -> None:
    """Up to rounding, as anything that a server computes in a crowd: answers are equal, numbers to 1e-4."""
    url, folder, _ = served
    runs = [tmp_path / name / "rl" for name in ("whole", "again", "killed")]
    for output in runs[:2]:
        assert lives.live(learn, output, url, folder, models["tiny"]) == 0
    for step in (4, 6):  # within an iteration, whose answers came with the checkpoint before it
        assert lives.killed_at_call(step, STEP, learn, runs[2], url, folder, models["tiny"]) == lives.KILLED
    assert lives.live(learn, runs[2], url, folder, models["tiny"]) == 0
    whole = rows(runs[0])
    assert [r["sampling/policy_age"] for r in whole] == [0, 0] + [1] * 8
    assert all(r["sampling/logp_gap"] < 1e-4 for r in whole[:2])
    assert all(r["sampling/logp_gap"] > 1e-4 for r in whole[2:])
    weights = [load_file(output / "model" / "model.safetensors") for output in runs]
    for output, found in zip(runs[1:], weights[1:], strict=True):
        for expected, row in zip(whole, rows(output), strict=True):
            assert row == pytest.approx(expected, abs=1e-4)
        for name, values in weights[0].items():
            np.testing.assert_allclose(found[name], values, atol=1e-3)


def test_a_server_that_dies_is_one_sentence(
    served: tuple[str, Path, Any], models: dict[str, str], tmp_path: Path
) -> None:
    url, folder, server = served
    output, said = tmp_path / "run" / "rl", tmp_path / "said"
    learning = lives.start(
        str(said), learn, output, url, folder, models["tiny"], "iterations=100000", tries=1
    )
    while learning.is_alive() and len(rows(output)) < 3:
        time.sleep(0.01)
    server.kill()
    assert lives.ended(learning) == 2
    last = said.read_text().splitlines()[-1]
    assert last.startswith(f"heedful: no answer from {url}/v1 in 2 tries ")
    assert "Traceback" not in said.read_text()
