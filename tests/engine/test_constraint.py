"""Answers that keep to a grammar: whatever a random model would rather write."""

import json
import re

import pytest

from engine.panel_kit import STEPS, TOKENIZER, policy
from heedful.engine.endpoint import Endpoint
from heedful.engine.sampler_server import ServerSampler
from heedful.engine.sampling import Sampling
from heedful.errors import UserError
from heedful.panels import exchange, grammar, requests, text
from heedful.panels.exchange import from_json
from heedful.types import Message, Prompt

ASK = [Prompt(str(i), requests.plan(s.after)) for i, s in enumerate(STEPS[:3])]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_answer_is_lines_of_a_patch(lang: str) -> None:
    how = Sampling(60, 1.0, grammar=grammar.patch(lang).lark)  # type: ignore[arg-type]
    for answered in policy().answer(ASK, how, seed=(0,), n=4, slots=2):
        for sample, answer in zip(answered.samples, answered.texts, strict=True):
            whole = answer.split("\n") if sample.finished else answer.split("\n")[:-1]
            for line in filter(None, whole):
                drop = text.WORDS[lang].drop + " "  # type: ignore[index]
                assert text.parse_line(line.removeprefix(drop), lang) is not None  # type: ignore[arg-type]


def test_an_answer_ends_where_the_grammar_ends() -> None:
    how = Sampling(80, 1.0, grammar='start: "cat" | "dog" " barks"')
    texts = [t for a in policy().answer(ASK, how, seed=(1,), n=6) for t in a.texts]
    assert set(texts) == {"cat", "dog barks"}


def test_a_json_schema_makes_panels() -> None:
    small = {
        "type": "object",
        "properties": {"plan": {"type": "array", "items": {"enum": ["go", "stay"]}, "maxItems": 2}},
    }
    small |= {"required": ["plan"], "additionalProperties": False}
    how = Sampling(60, 1.0, grammar=json.dumps(small))
    for answered in policy().answer(ASK, how, seed=(2,), n=3):
        for answer in answered.texts:
            assert set(from_json(json.loads(answer)).plan) <= {"go", "stay"}


def test_a_grammar_that_lets_everything_pass_changes_no_greedy_token_that_is_text() -> None:
    free, held = Sampling(20, 0.0), Sampling(20, 0.0, grammar=r"start: /(.|\n)*/")
    a, b = (policy().answer(ASK, how, seed=(3,)) for how in (free, held))
    same = 0
    for x, y in zip(a, b, strict=True):
        for p, q in zip(x.samples[0].ids, y.samples[0].ids, strict=False):
            if p != q:  # only what is no text may be refused: special tokens and broken bytes
                assert "\ufffd" in TOKENIZER.decode([p]) or int(p) in TOKENIZER.all_special_ids
                break
            same += 1
    assert same


def test_log_probs_are_the_models_and_behaviour_is_under_the_grammar() -> None:
    how = Sampling(20, 1.0, grammar='start: "cat" | "dog"', behavior_logp=True)
    (answered,) = policy().answer(ASK[:1], how, seed=(4,))
    sample = answered.samples[0]
    assert sample.behavior_logp is not None
    assert sample.behavior_logp.sum() > sample.logp.sum()
    assert sample.behavior_logp.sum() >= -1e-4 or re.fullmatch("cat|dog", answered.texts[0])


def test_what_is_no_grammar_is_said() -> None:
    with pytest.raises(UserError, match="grammar cannot be used"):
        policy().answer(ASK[:1], Sampling(5, grammar="start: ("), seed=(0,))


def test_a_server_is_asked_for_the_schema_and_takes_no_lark() -> None:
    seen = {}

    class Recorder(Endpoint):
        def post(self, path: str, body: object) -> dict[str, object]:  # type: ignore[override]
            seen.update(body)  # type: ignore[call-overload]
            return {"choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}]}

    sampler = ServerSampler(Recorder("http://localhost:1/v1"), "m")
    ask = [Prompt("a", (Message("user", "hi"),))]
    sampler.answer(ask, Sampling(5, grammar=json.dumps(exchange.schema())), seed=(0,))
    assert seen["response_format"]["json_schema"]["schema"]["title"] == "PanelModel"  # type: ignore[index]
    with pytest.raises(UserError, match="no Lark"):
        sampler.answer(ask, Sampling(5, grammar="start: LINE"), seed=(0,))
