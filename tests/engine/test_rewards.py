"""Rewards by name and several at once: each logged by itself, none depending on earlier calls."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from heedful.engine.process_reward import ProcessRewardModel, describe
from heedful.engine.reward_model import RewardModel
from heedful.engine.rewards import FunctionReward, RewardSet, load_reward, reward_body, reward_inputs
from heedful.engine.scorer import Scorer
from heedful.engine.stage import Stage, StageConfig
from heedful.errors import UserError
from heedful.nn import hub
from heedful.types import Message, Prompt
from stages import saved

PROMPTS = [
    Prompt("p", (Message("user", "a b"),), columns={"want": "a"}),
    Prompt("q", (Message("user", "b c"),), columns={"want": "b", "safety": True}),
]
ANSWERS = [["a a", "b"], ["b a"]]
CODE = """
def wanted(prompts, completions, want, **columns):
    return [float(c.count(w)) for c, w in zip(completions, want)]

def short(prompts, completions, **columns):
    return [-float(len(c)) for c in completions]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def flat(reward: Scorer) -> list[float]:
    return [score for row in reward.scores(PROMPTS, ANSWERS) for score in row]


def both(folder: Path, *more: str) -> str:
    lines = [
        "rewards:",
        "  - {name: safe, from: 'mine.py:wanted'}",
        "  - {name: helpful, from: 'mine.py:short'}",
    ]
    (folder / "rewards.yaml").write_text("\n".join([*lines, *more]) + "\n")
    return "rewards.yaml"


def test_a_function_gets_prompts_completions_and_columns(folder: Path) -> None:
    found = load_reward("mine.py:wanted")
    assert isinstance(found, FunctionReward)
    # Columns are those that all prompts have; `want` is one, `safety` is not.
    assert found.scores(PROMPTS, ANSWERS) == [[2.0, 0.0], [1.0]]


def test_the_sum_and_its_parts_and_shaping_are_logged_by_themselves(folder: Path) -> None:
    shaping = ["shaping:", "  - {name: long, from: length, weight: -0.5, free: 2}"]
    found = load_reward(both(folder, "combine: sum", *shaping))
    # wanted 2, 0, 1; short -3, -1, -3; beyond two characters 1, 0, 1.
    assert found.scores(PROMPTS, ANSWERS) == [[-1.5, -1.0], [-2.5]]
    assert found.metrics["rewards/safe/mean"] == pytest.approx(1.0)
    assert found.metrics["rewards/helpful/mean"] == pytest.approx(-7 / 3)
    assert found.metrics["rewards/long/mean"] == pytest.approx(-1 / 3)
    assert found.metrics["rewards/safe/std"] == pytest.approx((2 / 3) ** 0.5)


def test_the_gate_reads_safety_from_the_prompts_column(folder: Path) -> None:
    found = load_reward(both(folder, "combine: gate"))
    # sigmoid of 2, 0 and 1 is above 0.15, so only the risky prompt takes safety: -3, -1 and 1, whitened.
    taken = [-3.0, -1.0, 1.0]
    assert flat(found) == pytest.approx([(t + 1) / (8 / 3) ** 0.5 for t in taken])


@pytest.mark.parametrize(
    ("combine", "expected"),
    [("minimum", [-3.0, -1.0, -3.0]), ("uncertainty", [-0.5 - 0.625, -0.5 - 0.025, -1.0 - 0.4])],
)
def test_ensembles(folder: Path, combine: str, expected: list[float]) -> None:
    found = load_reward(both(folder, f"combine: {combine}"))
    assert flat(found) == pytest.approx(expected)


def test_no_call_depends_on_an_earlier_one(folder: Path) -> None:
    found = load_reward(both(folder, "combine: normalise"))
    once = found.scores(PROMPTS, ANSWERS)
    found.scores(PROMPTS[:1], [["a a a a", "b"]])
    assert found.scores(PROMPTS, ANSWERS) == once
    assert found.scores([], []) == []


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["combine: gates"], "combine='gates'"),
        (["combine: minimum", "  - {name: c, from: world, weight: 2}"], "takes no weights"),
        (["  - {name: safe, from: world}"], "same name"),
        (["  - {name: c, from: other.yaml}"], "is a YAML file itself"),
        (["shaping:", "  - {name: c, from: format, weight: 1}"], "'pattern' is what"),
        (["shaping:", "  - {name: c, from: format, weight: 1, pattern: '('}"], "no regular expression"),
        (["combine: gate", "  - {name: c, from: world}"], "named safe and helpful"),
        (["wieghts: 1"], "has no setting 'wieghts'"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(folder: Path, lines: Sequence[str], sentence: str) -> None:
    rewards = [line for line in lines if line.startswith("  - {name: ") and "weight: 1" not in line]
    others = [line for line in lines if line not in rewards]
    with pytest.raises(UserError, match=sentence):
        load_reward(both(folder, *rewards, *others))


def test_a_missing_file_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"no file 'nowhere\.yaml'"):
        load_reward("nowhere.yaml")


def test_models_are_opened_as_what_they_are(folder: Path) -> None:
    saved.models(folder)
    assert isinstance(load_reward("reward/"), RewardModel)
    model, tokenizer = hub.load_scorer(folder / "reward"), hub.load_tokenizer(folder / "reward")
    describe(model.config, separator=" ;", how="last")
    hub.save_model(folder / "steps", model, tokenizer)
    found = load_reward(folder / "steps")
    assert isinstance(found, ProcessRewardModel)
    assert (found.separator, found.how) == (" ;", "last")
    with pytest.raises(UserError, match="no process reward model"):
        ProcessRewardModel.load(folder / "reward")


def test_what_a_stage_reads_is_fingerprinted_and_the_critic_finds_a_body(folder: Path) -> None:
    saved.models(folder)
    name = both(folder, f"  - {{name: model, from: {folder / 'reward'}}}")

    def identity() -> object:
        return Stage("rl", StageConfig(output=folder / "out"), reward_inputs(name)).identity

    assert reward_body(name) == str(folder / "reward")
    assert reward_body("mine.py:short") is None
    before = identity()
    assert identity() == before
    (folder / "mine.py").write_text(CODE + "\n# changed\n")
    assert identity() != before
    assert isinstance(load_reward(name), RewardSet)
