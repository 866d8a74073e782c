"""Policy, reward model and learner as three processes: a reward server that is away for ten seconds costs no step."""

import dataclasses
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
from serve import live, three_processes
from serve.three_processes import PROMPTS

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


def test_a_server_that_stays_away_is_named_after_four_minutes() -> None:
    pauses: list[float] = []
    with serving(lambda api, number, body: api.reply({}, status=503)) as (url, seen):
        scorer = ServerReward.at(url)
        scorer.endpoint = dataclasses.replace(scorer.endpoint, sleep=pauses.append)
        with pytest.raises(UserError, match=f"no answer from {url} in 11 tries"):
            scorer.scores(PROMPTS[:1], TEXTS[:1])
    assert len(seen) == len(pauses) + 1
    assert sum(pauses) == pytest.approx(240, rel=0.05)


@pytest.mark.slow
def test_a_reward_server_that_is_away_for_ten_seconds_costs_time_and_no_step(
    models: dict[str, str], tmp_path: Path
) -> None:
    found = three_processes.run(models, tmp_path, steps=STEPS, away=10)
    assert found.taken_while_away <= 1
    assert [row["step"] for row in found.rows] == list(range(STEPS))
    # Answers came from the weights of each step: else their log-probs would not be a fresh forward's.
    assert all(row["sampling/logp_gap"] < 1e-4 for row in found.rows)
    assert len({row["reward"] for row in found.rows}) > STEPS // 2
