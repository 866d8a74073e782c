"""A judge by log-probs: swapped answers give swapped probabilities, principles are averaged, leanings are measured."""

import json
import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from heedful.data import chat
from heedful.data.formats import read_preferences
from heedful.engine import judges
from heedful.engine.ai_judge import AiJudge
from heedful.engine.chooser import ModelChooser, Question, ServerChooser
from heedful.engine.endpoint import Endpoint
from heedful.engine.judging import Judging
from heedful.engine.policy import Policy
from heedful.errors import UserError
from heedful.nn import hub
from heedful.stages import judge, revise
from heedful.stats import judge_bias
from heedful.tasks.principles import Principle, Principles
from heedful.types import Message, Prompt
from stages import saved

WORDS = Principles(
    ("a", "b"),
    "{conversation} {first} {second} {principle}",
    "{conversation} {answer} {principle}",
    "{conversation} {answer} {critique}",
    (Principle("one", "c", "c"), Principle("two", "d", "d")),
)
ASKED = (Message("user", "e"),)


class Counting:
    """Likes the answer with more letters g, leans by `lean` nats to what is shown first."""

    def __init__(self, lean: float = 0.0) -> None:
        self.lean = lean

    def logp(self, questions: Sequence[Question], choices: Sequence[str]) -> NDArray[np.float64]:
        rows = []
        for question in questions:
            _, first, second, principle = question[0].content.split(" ")
            gap = (first.count("g") - second.count("g")) * (2.0 if principle == "d" else 1.0)
            rows.append([gap + self.lean, 0.0])
        return np.asarray(rows)

    def write(self, questions: Sequence[Question], length: int) -> list[str]:
        raise AssertionError("this judge was not asked for reasons")


class Arguing:
    """Counts the letters g aloud, and then chooses by what was counted, of which it is nearly sure."""

    def write(self, questions: Sequence[Question], length: int) -> list[str]:
        parts = [q[0].content.split(" ") for q in questions]
        assert all(len(q) == 1 for q in questions)
        return ["!" * length + f" {first.count('g')} {second.count('g')}" for _, first, second, _ in parts]

    def logp(self, questions: Sequence[Question], choices: Sequence[str]) -> NDArray[np.float64]:
        assert all([m.role for m in q] == ["user", "assistant", "user"] for q in questions)
        assert all(q[2].content == "so?" for q in questions)
        counts = [q[1].content.removeprefix("!!! ").split(" ") for q in questions]
        return np.asarray([[9.0 * (int(first) - int(second)), 0.0] for first, second in counts])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_swapped_answers_get_swapped_probabilities_whatever_the_leaning() -> None:
    found = AiJudge(Counting(lean=1.5), WORDS).prefer(
        [(ASKED, "gg", "g"), (ASKED, "g", "gg"), (ASKED, "g", "gi")]
    )
    assert found[0] == pytest.approx(1 - found[1])
    assert found[2] == pytest.approx(0.5)
    by_hand = [(sigmoid(k + 1.5) + 1 - sigmoid(-k + 1.5)) / 2 for k in (1.0, 2.0)]
    assert found[0] == pytest.approx(sum(by_hand) / 2)


def test_a_judge_that_reasons_chooses_by_what_it_said_and_is_clamped() -> None:
    """Bai et al. 2022, section 4.1: near certainty after a chain of thought becomes 60 %."""
    words = replace(WORDS, reason="{conversation} {first} {second} {principle}", conclude="so?")
    pairs = [(ASKED, "gg", "g"), (ASKED, "g", "gg"), (ASKED, "gi", "ig")]
    assert AiJudge(Arguing(), words, 3, 0.4).prefer(pairs) == pytest.approx([0.6, 0.4, 0.5])
    bare = AiJudge(Arguing(), words, 3).prefer(pairs)
    assert bare == pytest.approx([sigmoid(9), sigmoid(-9), 0.5])


def test_leanings_are_measured() -> None:
    pairs = [(ASKED, "gg", "g"), (ASKED, "gi", "i"), (ASKED, "gii", "i"), (ASKED, "i", "g")]
    longer = np.asarray([1.0, 1, 2, 0])
    fair = judge_bias.figures(AiJudge(Counting(), WORDS).views(pairs), longer, [0, 1, 2, 3])
    assert (fair["agreement"].value, fair["first_shown"].value, fair["consistent"].value) == (0.75, 0.5, 1.0)
    assert (fair["longer"].value, fair["longer"].n, fair["people_longer"].value) == (1.0, 3, 1.0)
    leaning = judge_bias.figures(AiJudge(Counting(lean=9.0), WORDS).views(pairs), longer, [0, 1, 2, 3])
    assert (leaning["first_shown"].value, leaning["consistent"].value) == (1.0, 0.0)
    assert leaning["agreement"].value == 0.75  # both orders together undo it


def test_answers_of_one_prompt_are_ranked_by_whom_they_beat() -> None:
    prompts = [Prompt("p", ASKED)] * 3 + [Prompt("q", ASKED)]
    found = [g["total"] for g in AiJudge(Counting(), WORDS)(prompts, ["g", "ggg", "i", "g"])]
    assert found[1] > found[0] > found[2]
    assert sum(found[:3]) == pytest.approx(1.5)
    assert found[3] == 0.5


def test_a_model_chooses_by_the_log_probs_of_whole_replies(tmp_path: Path) -> None:
    saved.models(tmp_path)
    policy = Policy.load(tmp_path / "policy")
    questions = [(Message("user", "c d"),), (Message("user", "e"),)]
    found = ModelChooser(policy).logp(questions, ("a", "b"))
    alone = hub.load_model(tmp_path / "policy")
    for question, row in zip(questions, found, strict=True):
        for choice, value in zip("ab", row, strict=True):
            prompt = chat.render_prompt(policy.tokenizer, question)
            ids = torch.tensor([*prompt, *chat.answer_ids(policy.tokenizer, choice)])
            logp = alone(ids[None]).logits[0].log_softmax(-1)[len(prompt) - 1 : -1]
            assert value == pytest.approx(logp.gather(-1, ids[len(prompt) :, None]).sum().item(), abs=1e-4)
    with pytest.raises(UserError, match="more than its context"):
        ModelChooser(policy).logp([(Message("user", "c " * 400),)], ("a", "b"))


class Server(BaseHTTPRequestHandler):
    """Says A with probability 0.6 in two spellings, B with 0.3; asked for more than a token it gives reasons."""

    tells = True

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body["max_tokens"] > 1:
            assert body["temperature"] == 0
            message = {"content": f"because of {body['messages'][0]['content']}"}
            self.say({"choices": [{"message": message, "finish_reason": "stop"}]})
            return
        assert body["logprobs"] is True
        top = [
            {"token": t, "logprob": math.log(p)}
            for t, p in (("A", 0.5), ("B", 0.3), (" A", 0.1), ("The", 0.1))
        ]
        content = [{"token": "A", "logprob": math.log(0.5), "top_logprobs": top}]
        choice = {"message": {"content": "A"}, "logprobs": {"content": content} if self.tells else None}
        self.say({"choices": [choice]})

    def say(self, said: dict[str, Any]) -> None:
        reply = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    running = HTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}/v1"
    running.shutdown()
    running.server_close()
    thread.join()


def test_a_server_chooses_by_its_likeliest_first_tokens(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chooser = ServerChooser(Endpoint(server, retries=0), "m", connections=1)
    assert chooser.logp([ASKED, ASKED], ("A", "B")) == pytest.approx(np.log([[0.6, 0.3]] * 2))
    assert chooser.logp([ASKED], ("A", "C"))[0, 1] == -20
    with pytest.raises(UserError, match="finds none of C, D likely"):
        chooser.logp([ASKED], ("C", "D"))
    assert chooser.write([ASKED], 5) == ["because of e"]
    monkeypatch.setattr(Server, "tells", False)
    with pytest.raises(UserError, match="does not tell log-probs"):
        chooser.logp([ASKED], ("A", "B"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    saved.models(tmp_path)
    saved.preferences(tmp_path)
    saved.prompts(tmp_path)
    (tmp_path / "mine.yaml").write_text(
        "choices: [a, b]\ncompare: '{conversation} {first} {second}'\n"
        "critique: '{conversation} {answer} {principle}'\nrevise: '{conversation} {answer} {critique}'\n"
        "principles: [{name: one, compare: c, critique: d}]\n"
    )
    return tmp_path


def judging(folder: Path, name: str, **values: Any) -> dict[str, Any]:
    given = {
        "judge": str(folder / "policy"),
        "principles": folder / "mine.yaml",
        "output": folder / name,
        **values,
    }
    return judge.main(judge.JudgeConfig(**given))


def test_a_judge_that_nobody_knows_or_that_disagrees_is_refused_until_told(folder: Path) -> None:
    data = folder / "preferences.jsonl"
    with pytest.raises(UserError, match="nobody knows yet"):
        judging(folder, "x", data=data)
    with pytest.raises(UserError, match=r"agrees with people in .* less than least_agreement=1"):
        judging(folder, "x", data=data, people=data, least_agreement=1.0)
    measured = json.loads((folder / "x" / "judged.json").read_text())
    assert measured["agreement"]["n"] == 18
    assert set(measured["by_principle"]) == {"one"}
    found = judging(folder, "y", data=data, people=data, least_agreement=1.0, anyway=True, lessons=True)
    assert found["pairs"] == 18
    assert len((folder / "y" / "lessons.jsonl").read_text().splitlines()) == 18
    written = read_preferences(folder / "y" / "preferences.jsonl")
    assert all(0.5 <= p.probability <= 1 for p in written)
    assert found["probability"] == pytest.approx(np.mean([p.probability for p in written]))
    agreed = sum(p.chosen.startswith("a") for p in written) / 18
    assert agreed == pytest.approx(found["agreement"]["value"], abs=0.03)


def test_reasons_are_asked_for_by_principles_that_can(folder: Path) -> None:
    data = folder / "preferences.jsonl"
    with pytest.raises(UserError, match="do not say how to reason"):
        judging(folder, "x", data=data, people=data, reasoning=4)
    with pytest.raises(ValueError, match="clamp means nothing without reasoning"):
        judging(folder, "x", data=data, people=data, clamp=0.3)
    words = (folder / "mine.yaml").read_text()
    (folder / "mine.yaml").write_text(
        f"{words}reason: '{{conversation}} {{first}} {{second}}'\nconclude: g\n"
    )
    judging(folder, "x", data=data, people=data, reasoning=4, anyway=True)
    sure = [p.probability for p in read_preferences(folder / "x" / "preferences.jsonl")]
    assert all(0.5 <= p <= 0.6 for p in sure)
    with pytest.raises(UserError, match="less reasoning"):
        judging(folder, "y", data=data, people=data, reasoning=4000)


def test_a_judge_labels_answers_that_a_policy_gives(folder: Path) -> None:
    given = {"model": str(folder / "policy"), "prompts": folder / "prompts.jsonl", "max_completion_length": 6}
    found = judging(folder, "z", anyway=True, **given)
    assert found["pairs"] == len(read_preferences(folder / "z" / "preferences.jsonl")) > 5
    with pytest.raises(UserError, match="need both model=DIR and prompts=FILE"):
        judging(folder, "w", anyway=True, model=str(folder / "policy"))


def test_answers_are_criticised_and_revised(folder: Path) -> None:
    given = {"model": str(folder / "policy"), "prompts": folder / "prompts.jsonl", "max_completion_length": 6}
    config = revise.ReviseConfig(output=folder / "r", principles=folder / "mine.yaml", revisions=2, **given)
    found = revise.main(config)
    said = [json.loads(line) for line in (folder / "r" / "said.jsonl").read_text().splitlines()]
    assert len(said) == 18
    assert all(len(row["turns"]) == 2 for row in said)
    dialogues = [json.loads(line) for line in (folder / "r" / "revisions.jsonl").read_text().splitlines()]
    assert found["dialogues"] == len(dialogues)
    last = {row["turns"][-1]["revision"] for row in said}
    assert {d["messages"][-1]["content"] for d in dialogues} <= last
    changed = read_preferences(folder / "r" / "preferences.jsonl")
    assert found["changed"] == len(changed) > 0
    assert all(p.chosen in last for p in changed)


def test_judges_are_found_by_name(folder: Path) -> None:
    prompts = [Prompt("p", ASKED), Prompt("p", ASKED)]
    for name in (f"reward:{folder / 'reward'}", f"ai:{folder / 'policy'}", "self"):
        judged = judges.find(
            name, policy=str(folder / "policy"), how=Judging(principles=folder / "mine.yaml")
        )
        assert len({g["total"] for g in judged(prompts, ["a b", "i c"])}) == 2
        assert judges.outside(name) is None
    assert judges.outside("world") == "world"
