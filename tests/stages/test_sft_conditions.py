"""Fine-tuning on answers of known quality: what is asked for becomes likelier, and the model says how to ask."""

from pathlib import Path
from typing import Any

import pytest

from heedful.data import chat, conditions
from heedful.engine.batch import Tree, answer_node, prompt_node
from heedful.engine.policy import Policy
from heedful.engine.score import sequence_columns
from heedful.errors import UserError
from heedful.stages import evaluate, sft
from heedful.types import Message
from stages import saved


def run(folder: Path, name: str, data: Path, **values: Any) -> dict[str, Any]:
    given = {"model": str(folder / "policy"), "data": data, "learning_rate": 1e-2, "tokens_per_step": 100}
    return sft.main(sft.SftConfig(output=folder / name, epochs=6, heldout_ratio=0.2, **{**given, **values}))


def preference(folder: Path, name: str, asked: int) -> float:
    """By how many nats the good answer ("a ...") is likelier than the poor one, when quality `asked` is asked for."""
    policy = Policy.load(folder / name / "model")
    conditions.ask(policy.tokenizer, asked)
    prompt = prompt_node(chat.render_prompt(policy.tokenizer, [Message("user", "c a")]))
    answers = (answer_node(chat.answer_ids(policy.tokenizer, text)) for text in ("a c b", "i a"))
    good, poor = sequence_columns(policy.model, [Tree(prompt, tuple(answers))], "logp")[0]
    return float(good.sum() - poor.sum())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    saved.models(tmp_path)
    saved.preferences(tmp_path)
    saved.prompts(tmp_path)
    return tmp_path


# The toy's words are letters, so the markers are letters too.
CASES: dict[str, dict[str, Any]] = {
    "prefix": {"markers": ("f ", "g ")},
    "points": {"markers": ("f ", "g ", "h "), "levels": 3},
    "reward_tokens": {"levels": 2},
    "hindsight": {"markers": ("f ", "g ")},
    "c_rlft": {"markers": ("f ", "g "), "suboptimal_weight": 0.5},
}


@pytest.mark.parametrize("condition", list(CASES))
def test_asking_for_quality_gives_it(folder: Path, condition: str) -> None:
    found = run(folder, "out", folder / "preferences.jsonl", condition=condition, **CASES[condition])
    levels = len(found["conditions"])
    low = levels - 1 if condition == "points" else 1  # of three points two are used by good and bad
    assert preference(folder, "out", levels) > preference(folder, "out", low) + 1
    assert "told their quality" in sft.line(found)
    assert found["best_gap"] > 0.5 > -0.5 > found["worst_gap"]
    assert "FELL" not in sft.line(found)
    assert "good answers -2.0 nats since the start (it FELL" in sft.line({**found, "best_drift": -2.0})


def test_a_second_run_with_another_penalty_computes_no_reference(
    folder: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int]
) -> None:
    monkeypatch.setenv("HEEDFUL_CACHE", str(folder / "cache"))
    given = {"condition": "prefix", "markers": ("f ", "g ")}
    run(folder, "one", folder / "preferences.jsonl", kl_coef=0.1, **given)
    first = sum(computed)
    assert first > 20
    run(folder, "other", folder / "preferences.jsonl", kl_coef=0.2, **given)
    assert sum(computed) == first
    assert saved.weights(folder / "one" / "model") != saved.weights(folder / "other" / "model")


def test_experts_are_told_from_others_by_their_source(folder: Path) -> None:
    rows = [
        {
            "messages": [{"role": "user", "content": f"{a} {b}"}, {"role": "assistant", "content": text}],
            "source": who,
        }
        for a in "abcdefghi"
        for b in "ab"
        for who, text in (("ada", f"a {a} b"), ("anyone", f"i {b}"))
    ]
    data = saved.lines(folder / "mixed.jsonl", rows)
    given = {"condition": "c_rlft", "markers": ("f ", "g ")}
    run(folder, "out", data, experts=("ada",), **given)
    assert preference(folder, "out", 2) > preference(folder, "out", 1) + 1
    with pytest.raises(UserError, match="no answer of the source 'eve'"):
        run(folder, "x", data, experts=("eve",), **given)


@pytest.mark.parametrize("condition", ["prefix", "reward_tokens"])
def test_a_penalty_holds_the_policy_near_what_it_was_when_told_nothing(folder: Path, condition: str) -> None:
    gaps = []
    data = folder / "preferences.jsonl"
    penalties: list[dict[str, Any]] = [{}, {"kl_coef": 5.0}, {"kl_coef": 5.0, "kl_estimator": "vocabulary"}]
    for number, penalty in enumerate(penalties):
        run(folder, str(number), data, condition=condition, **CASES[condition], **penalty)
        gaps.append(preference(folder, str(number), 2) - preference(folder, str(number), 1))
    assert max(gaps[1:]) < gaps[0] / 2


def test_settings_of_another_condition_are_refused() -> None:
    given: dict[str, Any] = {"output": "x", "model": "m", "data": "d"}
    for values, sentence in [
        ({"kl_coef": 0.1}, "kl_coef means nothing with condition=none"),
        ({"condition": "prefix", "kl_estimator": "vocabulary"}, "kl_estimator means nothing with kl_coef=0"),
        ({"condition": "prefix", "mask_ratio": 0.3}, "mask_ratio means nothing with condition=prefix"),
        ({"condition": "prefix", "experts": ("a",)}, "experts means nothing with condition=prefix"),
        ({"condition": "prefix", "markers": ("a",)}, "markers must be 2"),
        ({"condition": "reward_tokens", "lora_r": 4}, "an adapter cannot learn"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            sft.SftConfig(**given, **values)


def test_evaluate_asks_each_model_for_its_condition(folder: Path) -> None:
    run(folder, "out", folder / "preferences.jsonl", condition="prefix", **CASES["prefix"])
    (folder / "score.py").write_text(
        "def score(prompts, completions, **_):\n    return [float(c.startswith('a')) for c in completions]\n"
    )
    model = str(folder / "out" / "model")
    given: dict[str, Any] = {
        "prompts": folder / "prompts.jsonl",
        "judge": f"{folder / 'score.py'}:score",
        "max_completion_length": 6,
    }
    config = evaluate.EvaluateConfig(
        output=folder / "e", models={"low": model, "high": model}, conditions={"low": 1, "high": "g"}, **given
    )
    figures = evaluate.main(config)["figures"]
    low, high = (figures[name]["greedy"]["judge/total"]["value"] for name in ("low", "high"))
    assert high > low + 0.5
    assert 0 <= figures["high"]["greedy"]["distinct"]["value"] <= 1
    with pytest.raises(UserError, match=r"conditions\.hihg is of no model"):
        evaluate.main(
            evaluate.EvaluateConfig(output=folder / "f", models={"a": model}, conditions={"hihg": 1}, **given)
        )
