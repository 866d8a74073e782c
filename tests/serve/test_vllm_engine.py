"""vLLM behind the routes, by a fake of its signature: what it is asked, and what clients get."""

import json
import sys
from collections.abc import AsyncIterator, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from heedful.serve.app import build
from heedful.serve.config import ServeConfig
from heedful.serve.metrics import Metrics
from heedful.serve.vllm import VllmEngine
from serve import live

TEXT = live.TOKENIZER.encode("sat on the mat", add_special_tokens=False)
HEADERS = {"Authorization": f"Bearer {live.KEY}"}


class FakeLlm:
    """Answers every prompt with the same words, a token an output, each the likeliest."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.closed = 0
        self.errored = False
        size = len(live.TOKENIZER)
        self.model_config = SimpleNamespace(max_model_len=64, get_vocab_size=lambda: size)

    async def generate(self, prompt: Any, params: Any, name: str) -> AsyncIterator[Any]:
        self.asked.append((prompt, params, name))
        words = TEXT[: params["max_tokens"]]
        told = [None, *({t: SimpleNamespace(logprob=-1.0)} for t in prompt["prompt_token_ids"][1:])]
        try:
            for n in range(1, len(words) + 1):
                rows = [
                    {t: SimpleNamespace(logprob=-0.5), 3: SimpleNamespace(logprob=-2.0)} for t in words[:n]
                ]
                reason = ("length" if len(words) < len(TEXT) else "stop") if n == len(words) else None
                output = SimpleNamespace(token_ids=words[:n], finish_reason=reason, logprobs=rows)
                yield SimpleNamespace(outputs=[output], prompt_logprobs=told)
        finally:
            self.closed += 1

    def shutdown(self) -> None:
        pass


@pytest.fixture
def llm() -> FakeLlm:
    return FakeLlm()


@pytest.fixture
def client(llm: FakeLlm, models: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    fake = ModuleType("vllm")
    fake.SamplingParams = dict  # type: ignore[attr-defined]
    fake.AsyncEngineArgs = dict  # type: ignore[attr-defined]
    fake.AsyncLLMEngine = SimpleNamespace(from_engine_args=lambda options: llm)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", fake)
    config = ServeConfig(model=models["tiny"], engine="vllm", max_completion_length=32)
    metrics = Metrics()
    app = build(config, VllmEngine.load(config, metrics), metrics, [live.KEY])
    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


def test_answers_settings_and_log_probs(client: TestClient, llm: FakeLlm) -> None:
    body = {
        "model": "tiny",
        "prompt": "the",
        "max_tokens": 30,
        "logprobs": 2,
        "top_k": 5,
        "logit_bias": {"4": 1},
    }
    reply = client.post("/v1/completions", json=body, headers=HEADERS).json()["choices"][0]
    assert (reply["text"], reply["finish_reason"]) == ("sat on the mat", "stop")
    assert reply["logprobs"]["token_logprobs"] == [-0.5] * len(TEXT)
    prompt, params, _ = llm.asked[0]
    assert prompt == {"prompt_token_ids": live.TOKENIZER.encode("the")}
    assert (params["max_tokens"], params["top_k"], params["logit_bias"], params["logprobs"]) == (
        30,
        5,
        {4: 1.0},
        2,
    )
    short = client.post("/v1/completions", json={**body, "max_tokens": 2}, headers=HEADERS).json()["choices"][
        0
    ]
    assert short["finish_reason"] == "length"
    echo = {**body, "max_tokens": 0, "echo": True, "prompt": "the cat"}
    told = client.post("/v1/completions", json=echo, headers=HEADERS).json()["choices"][0]["logprobs"]
    assert told["token_logprobs"] == [None, -1.0]


def test_stop_strings_end_the_answer_and_the_request(client: TestClient, llm: FakeLlm) -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "x"}], "stop": " the", "stream": True}
    lines = client.post("/v1/chat/completions", json=body, headers=HEADERS).text.split("\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks) == "sat on"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert llm.closed == len(llm.asked) == 1


def test_what_it_cannot_do_is_said(client: TestClient) -> None:
    reply = client.post("/v1/embeddings", json={"model": "tiny", "input": "x"}, headers=HEADERS)
    assert reply.status_code == 400
    assert "no embeddings" in reply.json()["error"]["message"]
