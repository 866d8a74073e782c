"""Reward models as a service: scores are a direct call's, whatever else is asked with them."""

import numpy as np
import pytest

from heedful.engine.reward_model import RewardModel
from heedful.types import Message, Prompt
from serve import live

PROMPT = {"role": "user", "content": "the cat"}
TEXTS = ["sat", "on the mat", "the end", "猫", "x" * 40, "sat on", ""]


def direct(models: dict[str, str], texts: list[str]) -> list[float]:
    prompt = Prompt("", (Message("user", "the cat"),))
    return RewardModel.load(models["judge"]).scores([prompt], [texts])[0]


def test_scores_are_in_order_and_those_of_a_direct_call(server: live.Live, models: dict[str, str]) -> None:
    texts = (TEXTS * 5)[:32]
    items = [{"messages": [PROMPT, {"role": "assistant", "content": t}]} for t in texts]
    reply = server.post("score", {"items": items, "model": "judge"}).json()
    assert [d["index"] for d in reply["data"]] == list(range(32))
    together = [d["score"] for d in reply["data"]]
    np.testing.assert_allclose(together, direct(models, texts), atol=1e-4)
    alone = [server.post("score", {"items": [i]}).json()["data"][0]["score"] for i in items[:7]]
    np.testing.assert_allclose(alone, together[:7], atol=1e-4)
    assert reply["fingerprint"] == server.engine.rewards["judge"]


def test_rank_is_best_first(server: live.Live, models: dict[str, str]) -> None:
    reply = server.post("rank", {"messages": [PROMPT], "answers": TEXTS}).json()["data"]
    assert [d["index"] for d in reply] == np.argsort(-np.array(direct(models, TEXTS))).tolist()


def test_steps_are_scores_of_prefixes_where_the_model_judges_whole_answers(
    server: live.Live, models: dict[str, str]
) -> None:
    reply = server.post("steps", {"messages": [PROMPT], "steps": ["sat", "on", "the end"]}).json()
    expected = direct(models, ["sat", "sat\non", "sat\non\nthe end"])
    assert reply["kind"] == "prefix"
    np.testing.assert_allclose(reply["scores"], expected, atol=1e-4)
    assert reply["score"] == reply["scores"][-1]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("score", {"items": [{"messages": [PROMPT]}]}),
        ("score", {"items": []}),
        ("score", {"items": [{"messages": [{"role": "assistant", "content": "x"}]}]}),
        ("score", {"items": [{"messages": [PROMPT] * 2 + [{"role": "assistant", "content": "x"}]}]}),
        (
            "score",
            {"model": "tiny", "items": [{"messages": [PROMPT, {"role": "assistant", "content": "x"}]}]},
        ),
        ("rank", {"messages": [PROMPT], "answers": []}),
        ("rank", {"messages": [], "answers": ["a"]}),
        ("steps", {"messages": [PROMPT], "steps": ["a"] * 65}),
    ],
)
def test_what_cannot_be_scored_is_an_error(server: live.Live, path: str, body: dict[str, object]) -> None:
    reply = server.post(path, body)
    assert reply.status_code in (400, 404)
    assert set(reply.json()) == {"error"}
