"""A server whose model `critic`, asked by our principles in either language, finds the shorter answer better."""

import math
import re
from contextlib import AbstractContextManager
from typing import Any

from engine import api_server
from engine.api_server import Api

QUESTION = re.compile(r"(A|甲)[:：](.*)\n\n(?:Reply )?(B|乙)[:：](.*)\n\n", re.DOTALL)


def judge(api: Api, number: int, body: dict[str, Any]) -> None:
    """Reply with the log-probs of the two choices."""
    if body["model"] != "critic":
        api.reply({"error": {"message": "there is no such model"}}, 404)
        return
    (message,) = body["messages"]
    found = QUESTION.search(message["content"])
    assert found is not None
    one, first, other, second = found.groups()
    p = 1 / (1 + math.exp(len(first.strip()) - len(second.strip())))
    top = [{"token": t, "logprob": math.log(max(q, 1e-9))} for t, q in ((one, p), (other, 1 - p))]
    choice = {
        "message": {"content": one},
        "logprobs": {"content": [{"token": one, "logprob": 0.0, "top_logprobs": top}]},
    }
    api.reply({"choices": [choice]})


def serving() -> AbstractContextManager[tuple[str, list[tuple[str, dict[str, str], dict[str, Any]]]]]:
    """Its base address and the requests that it has seen."""
    return api_server.serving(judge)
