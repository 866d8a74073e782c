"""Three samplers, one interface: this process, vLLM (a fake of its signature here) and a server."""

import json
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import transformers as hf

import tiny
from engine.api_server import Api, serving
from heedful.data import chat
from heedful.engine.endpoint import Endpoint
from heedful.engine.policy import Policy
from heedful.engine.randomness import key
from heedful.engine.sampler import Answered, Sampler, TokenPrompt
from heedful.engine.sampler_server import ServerSampler
from heedful.engine.sampler_vllm import VllmSampler
from heedful.engine.sampling import Sampling
from heedful.engine.tokenizer import train_bpe
from heedful.errors import UserError
from heedful.types import Message, Prompt

TOKENIZER = train_bpe(["the cat sat on the mat. the end"] * 4, 280)
PROMPTS = [
    Prompt(f"p{i}", (Message("user", text),)) for i, text in enumerate(("the cat", "the mat sat", "end"))
]
SEED = (0, "test")


def policy() -> Policy:
    config = hf.LlamaConfig(**{**tiny._COMMON, "vocab_size": len(TOKENIZER), "max_position_embeddings": 256})
    return Policy(tiny.model(config), TOKENIZER)


def rendered(prompt: Prompt) -> list[int]:
    return list(chat.render_prompt(TOKENIZER, prompt.messages))


def same(found: list[Answered], expected: list[Answered], logp: bool = True) -> None:
    for a, b in zip(found, expected, strict=True):
        assert a.texts == b.texts
        for x, y in zip(a.samples, b.samples, strict=True):
            assert x.ids.tolist() == y.ids.tolist()
            assert x.finished == y.finished
            if logp:
                np.testing.assert_allclose(x.logp, y.logp, atol=1e-5)


def test_token_prompts_are_prompts() -> None:
    ours: Sampler = policy()
    how = Sampling(12)
    tokens = [TokenPrompt(p.id, tuple(rendered(p))) for p in PROMPTS]
    same(ours.answer(tokens, how, seed=SEED, n=2), ours.answer(PROMPTS, how, seed=SEED, n=2))


def test_best_of_keeps_the_n_answers_of_highest_mean_log_prob() -> None:
    ours = policy()
    everything = ours.answer(PROMPTS, Sampling(12), seed=SEED, n=6)
    for found, drawn in zip(
        ours.answer(PROMPTS, Sampling(12, best_of=6), seed=SEED, n=2), everything, strict=True
    ):
        ranked = sorted(zip(drawn.samples, drawn.texts, strict=True), key=lambda x: -float(x[0].logp.mean()))
        assert [s.ids.tolist() for s in found.samples] == [s.ids.tolist() for s, _ in ranked[:2]]
        assert list(found.texts) == [t for _, t in ranked[:2]]
    with pytest.raises(UserError, match="raise best_of"):
        ours.answer(PROMPTS, Sampling(best_of=2), seed=SEED, n=3)


def test_a_policys_text_ends_before_the_stop_string() -> None:
    ours, how = policy(), Sampling(40, stop=("a", "t"))
    found = ours.answer(PROMPTS, how, seed=SEED, n=8)
    texts = [(t, s) for a in found for t, s in zip(a.texts, a.samples, strict=True)]
    assert not any("a" in t or "t" in t for t, _ in texts)
    whole = [str(TOKENIZER.decode(s.ids, skip_special_tokens=True)) for _, s in texts]
    assert any("a" in w or "t" in w for w in whole)


def test_beams_come_from_a_policy_too() -> None:
    found = policy().answer(PROMPTS, Sampling(8, num_beams=3), seed=SEED, n=2)
    assert [len(a.samples) for a in found] == [2, 2, 2]
    assert all(a.samples[0].logp.mean() >= a.samples[1].logp.mean() for a in found)


# A server that answers as the tiny policy does, and so must give what the policy gives.


def completions(ours: Policy, extra: dict[str, Any] | None = None) -> Any:
    by_seed = {key(*SEED, p.id, j) >> 32: (p, j) for p in PROMPTS for j in range(8)}

    def handle(api: Api, number: int, body: dict[str, Any]) -> None:
        prompt, j = by_seed[body["seed"]]
        assert body["prompt"] == rendered(prompt)
        known = {"temperature", "top_k", "top_p", "min_p", "repetition_penalty", "stop", "stop_token_ids"}
        options = {k: tuple(v) if isinstance(v, list) else v for k, v in body.items() if k in known}
        drawn = ours.answer([prompt], Sampling(body["max_tokens"], **options), seed=SEED, n=j + 1)[0]
        sample = drawn.samples[j]
        choice: dict[str, Any] = {
            "text": drawn.texts[j],
            "finish_reason": "stop" if sample.finished else "length",
        }
        if "logprobs" in body:
            choice["logprobs"] = {"token_logprobs": sample.logp.tolist()}
        if body.get("return_token_ids"):
            choice["token_ids"] = sample.ids.tolist()
        api.reply({"choices": [choice], **(extra or {})})

    return handle


@pytest.mark.parametrize(
    "how",
    [
        Sampling(10),
        Sampling(10, best_of=4),
        Sampling(10, 0),
        Sampling(10, top_k=5, min_p=0.1, repetition_penalty=1.2, stop=("t",), stop_token_ids=(9,)),
    ],
)
def test_a_server_with_the_same_model_gives_the_same_answers(how: Sampling) -> None:
    ours = policy()
    with serving(completions(ours)) as (url, seen):
        server: Sampler = ServerSampler(Endpoint(url), "m", TOKENIZER, tokens=True, connections=3)
        found = server.answer(PROMPTS, how, seed=SEED, n=2)
    same(found, ours.answer(PROMPTS, how, seed=SEED, n=2))
    assert [a.prompt for a in found] == [tuple(rendered(p)) for p in PROMPTS]
    assert len(seen) == 3 * (how.best_of or 2)


def test_log_probs_at_another_temperature_are_left_empty() -> None:
    ours, how = policy(), Sampling(10, 0.5)
    with serving(completions(ours)) as (url, seen):
        found = ServerSampler(Endpoint(url), "m", TOKENIZER, tokens=True).answer(PROMPTS, how, seed=SEED, n=2)
    same(found, ours.answer(PROMPTS, how, seed=SEED, n=2), logp=False)
    assert all(s.logp.shape == (0,) and len(s.ids) for a in found for s in a.samples)
    assert not any("logprobs" in body for _, _, body in seen)


def test_messages_go_to_chat_and_only_options_in_use_are_sent() -> None:
    def handle(api: Api, number: int, body: dict[str, Any]) -> None:
        said = body["messages"][-1]["content"] + " yes\x00 END no"
        api.reply(
            {"choices": [{"message": {"role": "assistant", "content": said}, "finish_reason": "length"}]}
        )

    with serving(handle) as (url, seen):
        found = ServerSampler(Endpoint(url, api_key="k"), "m").answer(
            PROMPTS, Sampling(7, 0.5, stop=("END",)), seed=SEED, n=2
        )
    assert [a.texts for a in found] == [(f"{p.messages[0].content} yes",) * 2 for p in PROMPTS]
    assert not any(s.finished or len(s.ids) or len(s.logp) for a in found for s in a.samples)
    assert {path for path, _, _ in seen} == {"/v1/chat/completions"}
    assert {headers["Authorization"] for _, headers, _ in seen} == {"Bearer k"}
    for _, _, body in seen:
        assert set(body) == {"model", "messages", "max_tokens", "temperature", "seed", "stop"}
    expected = {key(*SEED, p.id, j) >> 32 for p in PROMPTS for j in range(2)}
    assert {body["seed"] for _, _, body in seen} == expected
    assert max(expected) < 2**31


GOOD = {
    "text": "yes",
    "finish_reason": "stop",
    "token_ids": [5, 2],
    "logprobs": {"token_logprobs": [-1.0, 0]},
}


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"choices": []},
        {"choices": {"0": GOOD}},
        {"choices": ["yes"]},
        {"choices": [{**GOOD, "text": 5}]},
        {"choices": [{**GOOD, "text": ["yes"]}]},
        {"choices": [{k: v for k, v in GOOD.items() if k != "text"}]},
        {"choices": [{**GOOD, "finish_reason": 1}]},
        {"choices": [{**GOOD, "token_ids": None}]},
        {"choices": [{**GOOD, "token_ids": []}]},
        {"choices": [{**GOOD, "token_ids": [5, "2"]}]},
        {"choices": [{**GOOD, "token_ids": [5, True]}]},
        {"choices": [{**GOOD, "token_ids": [5, -2]}]},
        {"choices": [{**GOOD, "token_ids": [5, 2, 2]}]},
        {"choices": [{**GOOD, "token_ids": [5] * 50}]},
        {"choices": [{**GOOD, "logprobs": None}]},
        {"choices": [{**GOOD, "logprobs": {"token_logprobs": [-1.0, 0.5]}}]},
        {"choices": [{**GOOD, "logprobs": {"token_logprobs": [-1.0, None]}}]},
        {"choices": [{**GOOD, "logprobs": {"token_logprobs": [-1.0, -1e999]}}]},
        {"choices": [{**GOOD, "logprobs": {"token_logprobs": -1.0}}]},
    ],
)
def test_a_reply_of_another_shape_is_one_sentence(bad: Any) -> None:
    data = json.dumps(bad).replace("-Infinity", "-1e999").encode()
    with serving(lambda api, *_: api.reply(data)) as (url, _):
        sampler = ServerSampler(Endpoint(url), "m", TOKENIZER, tokens=True)
        with pytest.raises(UserError, match="did not send"):
            sampler.answer(PROMPTS, Sampling(10), seed=SEED)


def test_a_good_reply_passes_and_half_a_surrogate_pair_does_not_reach_files() -> None:
    data = json.dumps({"choices": [{**GOOD, "text": "a\ud800b"}]}).encode()
    with serving(lambda api, *_: api.reply(data)) as (url, _):
        found = ServerSampler(Endpoint(url), "m", TOKENIZER, tokens=True).answer(
            PROMPTS, Sampling(10), seed=SEED
        )
    assert found[0].texts == ("a?b",)
    assert found[0].samples[0].ids.tolist() == [5, 2]
    assert found[0].samples[0].logp.tolist() == [-1, 0]


def test_what_a_server_cannot_do_is_said_before_it_is_asked() -> None:
    sampler = ServerSampler(Endpoint("http://127.0.0.1:1/v1"), "m")
    for how, why in (
        (Sampling(num_beams=2), "beam search"),
        (Sampling(behavior_logp=True), "behavior_logp"),
        (Sampling(temperature=0.5, best_of=3), "best_of"),
    ):
        with pytest.raises(UserError, match=why):
            sampler.answer(PROMPTS, how, seed=SEED)
    with pytest.raises(UserError, match="tokenizer"):
        sampler.answer([TokenPrompt("p", (3, 4))], Sampling(), seed=SEED)
    with pytest.raises(UserError, match="tokenizer"):
        ServerSampler(Endpoint("http://127.0.0.1:1/v1"), "m", tokens=True)


# vLLM's names and types, as of 0.11; the answers are the tiny policy's.


@dataclass
class SamplingParams:
    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    max_tokens: int | None = 16
    logprobs: int | None = None


@dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: tuple[int, ...]
    cumulative_logprob: float | None
    logprobs: list[dict[int, Logprob]] | None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    outputs: list[CompletionOutput]


class LLM:
    def __init__(self, model: str, *, dtype: str = "auto") -> None:
        self.ours, self.dtype = policy(), dtype
        self.by_seed = {key(*SEED, p.id, j): (p, j) for p in PROMPTS for j in range(8)}

    def generate(
        self, prompts: Any, sampling_params: Any = None, *, use_tqdm: bool = True
    ) -> list[RequestOutput]:
        return [self.one(p, s) for p, s in zip(prompts, sampling_params, strict=True)]

    def one(self, prompt: dict[str, list[int]], params: SamplingParams) -> RequestOutput:
        asked, j = self.by_seed[params.seed or 0]
        assert prompt == {"prompt_token_ids": rendered(asked)}
        assert params.n == 1
        assert TOKENIZER.eos_token_id in (params.stop_token_ids or [])
        names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty")
        options = {name: getattr(params, name) for name in names}
        how = Sampling(
            params.max_tokens or 0,
            **options,
            stop=tuple(params.stop or ()),
            stop_token_ids=tuple(params.stop_token_ids or ()),
        )
        drawn = self.ours.answer([asked], how, seed=SEED, n=j + 1)[0]
        sample = drawn.samples[j]
        ids = tuple(sample.ids.tolist())
        logprobs = [{t: Logprob(v), -1: Logprob(0.0)} for t, v in zip(ids, sample.logp.tolist(), strict=True)]
        told = None if params.logprobs is None else logprobs
        reason = "stop" if sample.finished else "length"
        return RequestOutput([CompletionOutput(0, drawn.texts[j], ids, None, told, reason)])


@pytest.mark.parametrize(
    "how",
    [
        Sampling(10),
        Sampling(10, best_of=4),
        Sampling(10, 0.7),
        Sampling(10, top_k=5, stop=("t",), presence_penalty=0.4),
    ],
)
def test_the_vllm_adapter_passes_everything_on(how: Sampling, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = ModuleType("vllm")
    fake.LLM, fake.SamplingParams = LLM, SamplingParams  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", fake)
    monkeypatch.setattr("heedful.nn.hub.load_tokenizer", lambda source: TOKENIZER)
    sampler: Sampler = VllmSampler.load("somewhere", dtype="float32")
    found = sampler.answer(PROMPTS, how, seed=SEED, n=2)
    tells = how.temperature == 1
    same(found, policy().answer(PROMPTS, how, seed=SEED, n=2), logp=tells)
    assert all((len(s.logp) == len(s.ids)) == tells for a in found for s in a.samples)


def test_without_vllm_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(UserError, match=r"heedful\[vllm\]"):
        VllmSampler.load("somewhere")
