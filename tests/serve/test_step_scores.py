"""`/v1/steps` of a process reward model, over HTTP: a score a step, and those of a direct call."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny
from heedful.engine import process_reward
from heedful.engine.process_reward import ProcessRewardModel
from heedful.nn import hub
from heedful.types import Message, Prompt
from serve import live

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
