"""`/v1/steps` of a process reward model, over HTTP: a score a step, and those of a direct call."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from engine.api_server import serving
from heedful.engine import process_reward
from heedful.engine.endpoint import Endpoint
from heedful.engine.process_reward import ProcessRewardModel
from heedful.engine.reward_server import ServerReward
from heedful.errors import UserError
from heedful.nn import hub
from heedful.stages import rl
from heedful.types import Message, Prompt
from serve import live
from stages import saved

ASKED = {"role": "user", "content": "the cat"}
PROMPT = Prompt("", (Message("user", "the cat"),))
STEPS = ["the cat sat", "on the mat", "the end"]
SEPARATOR = ". "


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A process reward model on disk, whose steps are sentences."""
    folder = tmp_path_factory.mktemp("steps") / "judge"
    model = tiny.model(live.tiny_config(), scorer=True, seed=3)
    process_reward.describe(model.config, separator=SEPARATOR, how="minimum")
    hub.save_model(folder, model, live.TOKENIZER)
    return folder


@pytest.fixture(scope="module")
def server(judge: Path) -> Iterator[live.Live]:
    with live.serving(reward=str(judge)) as found:
        yield found


def direct(judge: Path, steps: list[str]) -> list[float]:
    (((*found,),),) = ProcessRewardModel.load(judge).steps([PROMPT], [[SEPARATOR.join(steps)]])
    return [score.probability for score in found]


@pytest.mark.parametrize("steps", [STEPS, STEPS[:1], STEPS[::-1] * 5])
@pytest.mark.parametrize("more", [{}, {"separator": "\n"}])
def test_every_step_has_its_probability(
    server: live.Live, judge: Path, steps: list[str], more: dict[str, str]
) -> None:
    """What stands between steps is the model's to say: it was trained with it."""
    reply = server.post("steps", {"messages": [ASKED], "steps": steps, **more})
    found = reply.json()
    assert reply.status_code == 200
    assert (found["kind"], found["model"]) == ("process", "judge")
    assert found["fingerprint"] == server.engine.rewards["judge"]
    np.testing.assert_allclose(found["scores"], direct(judge, steps), atol=1e-5)
    assert found["score"] == pytest.approx(min(found["scores"]))


def test_the_whole_answers_score_is_the_same_by_score_and_rank(server: live.Live) -> None:
    answers = [SEPARATOR.join(steps) for steps in (STEPS, STEPS[:2], STEPS[::-1])]
    whole = [
        server.post("steps", {"messages": [ASKED], "steps": a.split(SEPARATOR)}).json()["score"]
        for a in answers
    ]
    items = [{"messages": [ASKED, {"role": "assistant", "content": a}]} for a in answers]
    scored = server.post("score", {"items": items}).json()["data"]
    np.testing.assert_allclose([d["score"] for d in scored], whole, atol=1e-5)
    ranked = server.post("rank", {"messages": [ASKED], "answers": answers}).json()["data"]
    assert [d["index"] for d in ranked] == np.argsort([-w for w in whole]).tolist()


@pytest.mark.parametrize("steps", [["the cat. sat", "the end"], ["the cat", " "], [""]])
def test_what_is_not_one_step_to_the_model_is_an_error(server: live.Live, steps: list[Any]) -> None:
    reply = server.post("steps", {"messages": [ASKED], "steps": steps})
    assert reply.status_code == 400
    assert "'. '" in reply.json()["error"]["message"]
    assert reply.json()["error"]["param"] == "steps"
    assert server.post("steps", {"messages": [ASKED], "steps": STEPS}).status_code == 200


PROMPTS = [PROMPT, Prompt("", (Message("user", "sat on"),))]
TEXTS = [["the cat sat. on the mat", "the end", ""], ["on. the. mat. ", " . the end"]]


@pytest.mark.parametrize("items", [2, 64])
def test_whole_answers_are_cut_where_the_model_cuts_them(server: live.Live, judge: Path, items: int) -> None:
    remote = ServerReward(Endpoint(server.v1, live.KEY), items=items).steps(PROMPTS, TEXTS)
    here = ProcessRewardModel.load(judge).steps(PROMPTS, TEXTS)
    assert [[[s.end for s in steps] for steps in row] for row in remote] == [
        [[11, 23], [7], []],
        [[2, 7, 12], [10]],
    ]
    for one, other in zip(remote, here, strict=True):
        for found, expected in zip(one, other, strict=True):
            assert [s.end for s in found] == [s.end for s in expected]
            np.testing.assert_allclose(
                [s.probability for s in found], [s.probability for s in expected], atol=1e-5
            )


def test_rl_takes_a_reward_a_step_from_a_server(
    server: live.Live, judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same run with the model in this process: every row of metrics but its times."""
    monkeypatch.setenv("HEEDFUL_API_KEY", live.KEY)
    model = live.save(tmp_path / "policy")
    asked = saved.lines(tmp_path / "prompts.jsonl", [{"prompt": t} for t in ("the cat", "the mat", "sat on")])
    known = []
    for name, reward in (("here", str(judge)), ("there", server.v1)):
        small: dict[str, Any] = {"prompts_per_step": 3, "num_generations": 4, "max_completion_length": 8}
        made = rl.RlConfig(
            output=tmp_path / name,
            model=model,
            reward=reward,
            prompts=asked,
            step_rewards=True,
            iterations=2,
            algorithm="reinforce",
            **small,
        )
        rl.main(made)
        known.append([json.loads(line) for line in (made.output / "metrics.jsonl").read_text().splitlines()])
    for here, there in zip(*known, strict=True):
        times = {"seconds", "tokens_per_second"}
        assert {k: v for k, v in there.items() if k not in times} == pytest.approx(
            {k: v for k, v in here.items() if k not in times}, abs=1e-4
        )
    assert known[0][0]["reward"] != 0


def test_a_model_that_cuts_no_steps_is_named(models: dict[str, str]) -> None:
    with live.serving(reward=models["judge"]) as other:
        scorer = ServerReward(Endpoint(other.v1, live.KEY))
        with pytest.raises(UserError, match=f"{other.v1} refused.*judges whole answers"):
            scorer.steps(PROMPTS, TEXTS)


@pytest.mark.parametrize(
    "row",
    [
        {"score": 1.0},
        {"ends": [1, 2], "scores": [0.5]},
        {"ends": [1.5], "scores": [0.5]},
        {"ends": [1], "scores": ["0.5"]},
        {"ends": 1, "scores": 0.5},
    ],
)
def test_a_server_that_sends_something_else_than_steps_is_named(row: dict[str, Any]) -> None:
    def reply(api: Any, number: int, body: Any) -> None:
        api.reply({"data": [{"index": 0, **row}]})

    with serving(reply) as (url, _), pytest.raises(UserError, match=f"{url} did not send scores"):
        ServerReward(Endpoint(url)).steps([PROMPT], [["the cat"]])
