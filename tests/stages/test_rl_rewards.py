"""What the reward model gives to RL: its body to the critic, and scores of text that it reads in its own tokens."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from engine.toy_rl import LETTERS
from heedful import train_bpe
from heedful.data import chat
from heedful.engine.process_reward import describe
from heedful.engine.reward_model import RewardModel
from heedful.engine.scorer import Scorer
from heedful.nn import hub
from heedful.stages import rl
from heedful.types import Prompt
from stages import saved


def config(folder: Path, **values: Any) -> rl.RlConfig:
    if not (folder / "policy").is_dir():
        saved.models(folder)
    saved.prompts(folder)
    small = {"iterations": 2, "prompts_per_step": 4, "num_generations": 3, "max_completion_length": 6}
    given = {"output": folder / "out", "model": str(folder / "policy"), "prompts": folder / "prompts.jsonl"}
    return rl.RlConfig(**{**given, "reward": str(folder / "reward"), **small, **values})


def other_words(folder: Path) -> Path:
    """A reward model on byte pairs of its own: other tokens, more of them, and several letters in one."""
    words = train_bpe([" ".join(LETTERS), "a b a b c d", "h i h i"] * 8, 290)
    chat.ensure_chat_template(words)
    shape = hf_config(len(words), eos=words.eos_token_id)
    hub.save_model(folder / "other", tiny.model(shape, scorer=True, seed=5), words)
    return folder / "other"


def hf_config(vocabulary: int, *, eos: int) -> Any:
    found = tiny.configs()["llama"]
    found.vocab_size, found.eos_token_id = vocabulary, eos
    return found


def bodies(*models: Any) -> list[dict[str, torch.Tensor]]:
    return [{n: p.detach() for n, p in m.base_model.named_parameters()} for m in models]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_critic_starts_with_the_values_that_the_reward_model_gives(tmp_path: Path) -> None:
    made = config(tmp_path)
    critic, scorer = rl.critic(made), hub.load_scorer(tmp_path / "reward")
    assert same(*bodies(critic, scorer))
    assert torch.equal(critic.score.weight, scorer.score.weight)
    ids = torch.arange(4, 12)[None]
    assert torch.equal(critic(ids).logits, scorer(ids).logits)


@pytest.mark.parametrize("why", ["policy", "function", "other words"])
def test_the_critic_starts_from_the_policy_where_the_reward_model_cannot_give_its_body(
    tmp_path: Path, why: str
) -> None:
    values: dict[str, Any] = {"critic": "policy"} if why == "policy" else {}
    if why == "function":
        values["reward"] = "world"
    if why == "other words":
        saved.models(tmp_path)
        values["reward"] = str(other_words(tmp_path))
    made = config(tmp_path, **values)
    critic, policy = rl.critic(made), hub.load_model(tmp_path / "policy")
    assert same(*bodies(critic, policy))
    assert critic.config.vocab_size == policy.config.vocab_size
    assert float(critic.score.weight.detach().std()) > 0


class Recorded:
    """A reward that remembers what it was asked, and what it said."""

    def __init__(self, inner: Scorer) -> None:
        self.inner, self.metrics = inner, inner.metrics
        self.said: list[tuple[Prompt, str, float]] = []

    def scores(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[list[float]]:
        found = self.inner.scores(prompts, answers)
        self.said += [
            (p, t, s)
            for p, texts, row in zip(prompts, answers, found, strict=True)
            for t, s in zip(texts, row, strict=True)
        ]
        return found


def by_transformers(folder: Path, asked: Sequence[tuple[Prompt, str]]) -> list[float]:
    """The scores of answers, one at a time, their texts rendered and tokenized by the reward model's own tokenizer."""
    words, model = hub.load_tokenizer(folder), hub.load_scorer(folder)
    found = []
    for prompt, text in asked:
        ids = [*chat.render_prompt(words, prompt.messages), *chat.answer_ids(words, text)]
        states = model.base_model(torch.tensor([ids])).last_hidden_state[0, -1]
        found.append(float((states @ model.score.weight[0]).detach()))
    return found


def test_a_reward_model_with_another_tokenizer_reads_the_same_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved.models(tmp_path)
    other = other_words(tmp_path)
    assert not hub.same_vocabulary(tmp_path / "policy", other)
    recorded = Recorded(RewardModel.load(other))
    monkeypatch.setattr(rl, "load_reward", lambda source: recorded)
    made = config(tmp_path, reward=str(other), missing_eos_penalty=0.0)
    result = rl.main(made)
    assert len(recorded.said) == result["episodes"] == 24
    assert any(text for _, text, _ in recorded.said)
    assert all(set(text) <= {*LETTERS, " "} for _, text, _ in recorded.said)
    expected = by_transformers(other, [(prompt, text) for prompt, text, _ in recorded.said])
    assert [score for _, _, score in recorded.said] == pytest.approx(expected, abs=1e-4)
    assert result["reward"] == pytest.approx(np.mean(expected[12:]), abs=1e-4)
    assert saved.weights(made.output / "model") != saved.weights(tmp_path / "policy")
    assert hub.load_scorer(made.output / "critic").config.vocab_size == len(
        hub.load_tokenizer(tmp_path / "policy")
    )


def rows(made: rl.RlConfig) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (made.output / "metrics.jsonl").read_text().splitlines()]


def test_a_judge_grades_the_same_answers_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(
        "def letters(prompts, completions, **columns):\n    return [float(len(c.split())) for c in completions]\n"
    )
    recorded: list[Recorded] = []
    load = rl.load_reward
    monkeypatch.setattr(
        rl, "load_reward", lambda source: recorded.append(Recorded(load(source))) or recorded[-1]
    )
    watched = config(tmp_path, output=tmp_path / "watched", judge=f"{tmp_path / 'mine.py'}:letters")
    alone = config(tmp_path, output=tmp_path / "alone")
    for made in (watched, alone):
        rl.main(made)
    assert saved.weights(watched.output / "model") == saved.weights(alone.output / "model")
    marks = [float(len(text.split())) for _, text, _ in recorded[0].said]
    for half, part in ((rows(watched)[:4], marks[:12]), (rows(watched)[4:], marks[12:])):
        for row in half:
            assert row["judge/mean"] == pytest.approx(np.mean(part))
            assert row["judge/std"] == pytest.approx(np.std(part))
    assert "judge/mean" not in rows(alone)[0]


def test_a_judge_grades_answers_that_are_rewarded_a_step(tmp_path: Path) -> None:
    saved.models(tmp_path)
    model = hub.load_scorer(tmp_path / "reward")
    describe(model.config, separator=" ", how="last")
    hub.save_model(tmp_path / "steps", model, hub.load_tokenizer(tmp_path / "reward"))
    made = config(
        tmp_path,
        reward=str(tmp_path / "steps"),
        step_rewards=True,
        judge=f"reward:{tmp_path / 'reward'}",
        iterations=1,
    )
    rl.main(made)
    assert rows(made)[0]["judge/std"] > 0
