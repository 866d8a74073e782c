"""OpenAI's own client against a live server: whole, streamed, asynchronous, and its exceptions."""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serve import live

openai = pytest.importorskip("openai", reason="the clients' tests need pip install 'heedful[clients]'")

MESSAGES: Any = [{"role": "user", "content": "the cat"}]


@pytest.fixture
def client(server: live.Live) -> Any:
    with openai.OpenAI(base_url=server.v1, api_key=live.KEY, max_retries=0) as found:
        yield found


def test_whole_answers(client: Any) -> None:
    reply = client.chat.completions.create(
        model="tiny", messages=MESSAGES, max_completion_tokens=9, seed=1, n=2, logprobs=True, top_logprobs=3
    )
    assert len(reply.choices) == 2
    assert reply.usage.completion_tokens == sum(len(c.logprobs.content) for c in reply.choices)
    text = b"".join(bytes(t.bytes) for t in reply.choices[0].logprobs.content).decode(errors="replace")
    assert reply.choices[0].message.content in text
    completion = client.completions.create(model="tiny", prompt="the", max_tokens=4, logprobs=1, seed=1)
    assert len(completion.choices[0].logprobs.tokens) == completion.usage.completion_tokens
    assert [m.id for m in client.models.list()] == ["tiny", "other", "judge"]
    assert client.models.retrieve("tiny").id == "tiny"
    vector = client.embeddings.create(model="tiny", input="the cat").data[0].embedding
    assert sum(x * x for x in vector) == pytest.approx(1, abs=1e-5)


def test_streams(client: Any) -> None:
    asked: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "max_tokens": 20, "seed": 1}
    whole = client.chat.completions.create(**asked).choices[0].message.content
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole
    assert chunks[-1].usage.completion_tokens > 0
    with client.chat.completions.stream(**asked) as stream:
        assert stream.get_final_completion().choices[0].message.content == whole
    parts = client.completions.create(model="tiny", prompt="the", max_tokens=9, seed=2, stream=True)
    alone = client.completions.create(model="tiny", prompt="the", max_tokens=9, seed=2)
    assert "".join(p.choices[0].text for p in parts) == alone.choices[0].text


def test_a_seeded_request_is_the_same_alone_and_among_31_others(server: live.Live) -> None:
    async def texts() -> tuple[list[str], list[str]]:
        async with openai.AsyncOpenAI(base_url=server.v1, api_key=live.KEY, max_retries=0) as client:

            async def one(seed: int) -> str:
                stream = await client.chat.completions.create(
                    model="tiny", messages=MESSAGES, max_tokens=24, seed=seed, stream=True
                )
                return "".join([c.choices[0].delta.content or "" async for c in stream])

            crowd = await asyncio.gather(*map(one, range(32)))
            return list(crowd), [await one(seed) for seed in range(0, 32, 4)]

    crowd, alone = asyncio.run(texts())
    assert crowd[::4] == alone
    assert len(set(crowd)) == 32


def test_errors_are_the_clients_own(server: live.Live, client: Any) -> None:
    create = client.chat.completions.create
    with pytest.raises(openai.NotFoundError, match="no model 'moon'"):
        create(model="moon", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError) as caught:
        create(model="tiny", messages=MESSAGES, temperature=9)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as caught:
        create(model="tiny", messages=MESSAGES, max_tokens=10**6)
    assert caught.value.code == "context_length_exceeded"
    stranger = openai.OpenAI(base_url=server.v1, api_key="not-a-key-of-this-server", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_a_fault_in_mid_stream_is_an_api_error(
    server: live.Live, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = server.engine.worker.lanes["other"].stream
    monkeypatch.setattr(written, "step", lambda: 1 / 0 if len(written) else [])
    stop = {str(t): -100 for t in server.engine.models["other"].stop}
    stream = client.chat.completions.create(
        model="other", messages=MESSAGES, max_tokens=9, stream=True, logit_bias=stop
    )
    with pytest.raises(openai.APIError, match="the engine failed"):
        list(stream)


@pytest.mark.slow
def test_a_server_that_is_killed_in_mid_stream_is_a_connection_error(
    models: dict[str, str], tmp_path: Path
) -> None:
    with (
        live.process(tmp_path, models["tiny"]) as (url, server),
        openai.OpenAI(base_url=f"{url}/v1", api_key=live.KEY, max_retries=0) as client,
    ):
        stream = client.chat.completions.create(
            model="tiny", messages=MESSAGES, max_tokens=400, stream=True, logit_bias={"2": -100}
        )
        next(iter(stream))
        server.kill()
        with pytest.raises((openai.APIError, *live.BROKEN)):
            list(stream)


@pytest.mark.slow
def test_litellm(server: live.Live) -> None:
    """In a process of its own: importing it takes seconds and warns."""
    pytest.importorskip("litellm", reason="the clients' tests need pip install 'heedful[clients]'")
    program = Path(__file__).with_name("litellm_client.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(program), server.v1, live.KEY], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().endswith("all as it should be")
