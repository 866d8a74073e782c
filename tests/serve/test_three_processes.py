"""Policy, reward model and learner as three processes: a reward server that is away for ten seconds costs no step."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.api_server import serving
from heedful.engine.endpoint import Endpoint
from heedful.engine.reward_model import RewardModel
from heedful.engine.reward_server import ServerReward
from heedful.errors import UserError
from heedful.types import Message, Prompt
from serve import live

PROMPTS = [Prompt(f"p{i}", (Message("user", t),)) for i, t in enumerate(("the cat", "the mat", "sat on"))]
STEPS = 60  # enough for the server to be killed in the middle, however fast the machine is
TEXTS = [["a", "on the mat"], ["the end", "x"], ["", "猫"]]


def test_a_server_scores_as_the_model_does(server: live.Live, models: dict[str, str]) -> None:
    expected = RewardModel.load(models["judge"]).scores(PROMPTS, TEXTS)
    endpoint = Endpoint(server.v1, live.KEY)
    for items in (1, 4, 64):
        found = ServerReward(endpoint, "judge", items=items).scores(PROMPTS, TEXTS)
        np.testing.assert_allclose(found, expected, atol=1e-4)
    with pytest.raises(UserError, match=f"{server.v1} refused.*no reward model 'moon'"):
        ServerReward(endpoint, "moon").scores(PROMPTS, TEXTS)


@pytest.mark.parametrize(
    "rows",
    [
        None,
        [],
        [{"index": 0, "score": 1.0}],
        [{"index": 1, "score": 1}, {"index": 0, "score": 1}],
        [{"index": 0}, {"index": 1}],
    ],
)
def test_a_server_that_sends_something_else_is_named(rows: Any) -> None:
    with serving(lambda api, number, body: api.reply({"data": rows})) as (url, _):
        scorer = ServerReward(Endpoint(url))
        with pytest.raises(UserError, match=f"{url} did not send"):
            scorer.scores(PROMPTS[:1], TEXTS[:1])


def test_a_busy_server_is_asked_again_after_the_pause_that_it_names() -> None:
    pauses: list[float] = []

    def handle(api: Any, number: int, body: Mapping[str, Any]) -> None:
        if number < 3:
            api.reply({}, status=429, Retry_After="7")
        else:
            api.reply({"data": [{"index": i, "score": 1.0} for i in range(len(body["items"]))]})

    with serving(handle) as (url, seen):
        endpoint = Endpoint(url, sleep=pauses.append)
        assert ServerReward(endpoint).scores(PROMPTS[:1], TEXTS[:1]) == [[1.0, 1.0]]
        assert pauses == [7.0, 7.0, 7.0]
        assert len(seen) == 4


def metrics(folder: Path) -> list[dict[str, Any]]:
    file = folder / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def learner(folder: Path, policy: str, reward: str, start: str, shared: Path) -> "subprocess.Popen[bytes]":
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": p.messages[0].content}) + "\n" for p in PROMPTS))
    words = [
        f"model={start}",
        f"prompts={prompts}",
        f"reward={reward}/v1",
        f"sampler={policy}/v1#policy",
        f"publish={shared}",
        f"output={folder / 'rl'}",
        *(f"iterations={STEPS}", "prompts_per_step=3", "num_generations=4", "max_completion_length=8"),
        *("num_ppo_epochs=1", "num_mini_batches=1", "advantage=group", "kl_target=null"),
    ]
    command = [sys.executable, "-m", "heedful", "rl", "local", *words]
    environment = {**os.environ, "HEEDFUL_API_KEY": live.KEY}
    return subprocess.Popen(command, env=environment, stderr=(folder / "rl.log").open("wb"))


@pytest.mark.slow
def test_a_reward_server_that_is_away_for_ten_seconds_costs_time_and_no_step(
    models: dict[str, str], tmp_path: Path
) -> None:
    shared = tmp_path / "policy"
    shutil.copytree(models["tiny"], shared)
    port = live.free_port()
    with live.process(tmp_path, str(shared), "watch=true") as (policy, _):
        with live.process(tmp_path, f"reward={models['judge']}", port=port) as (reward, _):
            learning = learner(tmp_path, policy, reward, models["tiny"], shared)
            limit = time.monotonic() + 300
            while len(metrics(tmp_path / "rl")) < 2:
                assert learning.poll() is None, (tmp_path / "rl.log").read_text()
                assert time.monotonic() < limit
                time.sleep(0.01)
        # The reward server is killed here.
        before = len(metrics(tmp_path / "rl"))
        time.sleep(10)
        assert learning.poll() is None, (tmp_path / "rl.log").read_text()
        assert len(metrics(tmp_path / "rl")) <= before + 1
        with live.process(tmp_path, f"reward={models['judge']}", port=port):
            assert learning.wait(300) == 0, (tmp_path / "rl.log").read_text()
    rows = metrics(tmp_path / "rl")
    assert [r["step"] for r in rows] == list(range(STEPS))
    # Answers came from the weights of each step: else their log-probs would not be a fresh forward's.
    assert all(r["sampling/logp_gap"] < 1e-4 for r in rows)
    assert len({r["reward"] for r in rows}) > STEPS // 2
