"""The whole loop at its least size: what lies on disk afterwards, rounds, languages, and a user's own files."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from engine import critic_server
from heedful import loop, settings
from heedful.data import formats
from heedful.data.store.store import Store
from heedful.engine.stage import fingerprint
from heedful.errors import UserError
from heedful.nn import hub
from heedful.stages import evaluate, rl
from heedful.types import Message
from loop import tiny_loop

POLICIES = ("pretrain/model", "sft/model", "round-1/prefer/model", "round-1/rl/model")
SCORERS = ("round-1/reward/model", "round-1/rl/critic")
STAGES = ("world", "tokenizer", "pretrain", "sft", "feedback", "reward", "prefer", "rl", "evaluate")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished loop."""
    folder = tmp_path_factory.mktemp("tiny") / "run"
    tiny_loop.run(folder)
    return folder


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def stage(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "stage.json").read_text())
    return found


@pytest.mark.parametrize("name", POLICIES)
def test_policies_open_in_plain_transformers(folder: Path, name: str) -> None:
    model, info = AutoModelForCausalLM.from_pretrained(folder / name, output_loading_info=True)
    assert not any(info.values())
    tokenizer = AutoTokenizer.from_pretrained(folder / name)
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.eos_token_id == model.config.eos_token_id == model.generation_config.eos_token_id
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Who has the lamp?"}], add_generation_prompt=True, return_tensors="pt"
    )
    ids = asked if isinstance(asked, torch.Tensor) else asked["input_ids"]
    written = model.generate(ids, max_new_tokens=5, do_sample=False)
    assert ids.shape[1] < written.shape[1] <= ids.shape[1] + 5
    ours = hub.load_model(folder / name)
    assert torch.equal(model(ids).logits, ours(ids).logits)


@pytest.mark.parametrize("name", SCORERS)
def test_scorers_open_as_classifiers_with_one_label(folder: Path, name: str) -> None:
    model, info = AutoModelForSequenceClassification.from_pretrained(folder / name, output_loading_info=True)
    assert not any(info.values())
    assert model.config.num_labels == 1
    tokenizer = AutoTokenizer.from_pretrained(folder / name)
    assert model(**tokenizer("Who has the lamp?", return_tensors="pt")).logits.shape == (1, 1)


def test_every_stage_that_learns_moved_the_weights(folder: Path) -> None:
    models = [hub.load_model(folder / name) for name in POLICIES]
    embeddings = [model.get_input_embeddings().weight for model in models]
    for i, one in enumerate(embeddings):
        assert torch.isfinite(one).all()
        assert not any(torch.equal(one, other) for other in embeddings[:i])


def test_nothing_on_disk_needs_pickle_or_another_run(folder: Path) -> None:
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert not {name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))}
    for path in folder.rglob("config.json"):
        assert "heedful" not in path.read_text()
    assert not list(folder.rglob("checkpoint-*"))
    assert not [name for name in names if "partial" in name]


def test_judgements_lie_in_the_store_and_in_files(folder: Path) -> None:
    result = stage(folder / "round-1" / "feedback")["result"]
    with Store.open(folder / "feedback.db", create=False) as store:
        counts = store.counts(round=1)
    for kind in ("rating", "ranking", "comparison"):
        assert counts[kind] == result[f"{kind}s"] > 0
    preferences = formats.read_preferences(folder / "round-1" / "feedback" / "preferences.jsonl")
    assert len(preferences) == result["pairs"] > 50
    assert {p.source for p in preferences} <= {f"annotator-{n}" for n in range(1, 9)}


def test_the_summary_has_the_headline_figures(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    assert {
        "command",
        "seed",
        "commit",
        "device",
        "threads",
        "seconds",
        "peak_memory_bytes",
    } <= summary.keys()
    assert set(STAGES) <= summary["seconds"].keys()
    wanted = {
        "pretrain/heldout_loss",
        "sft/heldout_loss",
        "feedback/annotator_agreement",
        "reward/heldout_accuracy",
        "rl/win_rate_vs_sft",
        "rl/kl",
        "rl/stop_rate",
        "prefer/win_rate_vs_sft",
    }
    assert wanted <= summary["figures"].keys()
    for name in ("rl/win_rate_vs_sft", "prefer/win_rate_vs_sft", "reward/heldout_accuracy"):
        figure = summary["figures"][name]
        assert 0 <= figure["low"] <= figure["value"] <= figure["high"] <= 1
        assert figure["n"] > 0
        assert figure["unit"]
    rate = stage(folder / "round-1" / "evaluate")["result"]["figures"]["rl"]["sampled"][
        "win_rate/judge/total"
    ]
    assert summary["figures"]["rl/win_rate_vs_sft"]["value"] == rate["value"]


def test_the_worlds_judge_grades_what_rl_samples(folder: Path) -> None:
    assert all(0 <= row["judge/mean"] <= 1 for row in rows(folder / "round-1" / "rl" / "metrics.jsonl"))
    assert "heldout_agreement" not in stage(folder / "round-1" / "evaluate")["result"]["figures"]["rl"]


def test_the_report_needs_no_network(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert not re.findall(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", page)


def test_the_answers_of_every_policy_are_kept(folder: Path) -> None:
    found = rows(folder / "round-1" / "evaluate" / "answers.jsonl")
    assert len(found) == 12
    for row in found:
        assert row["answers"].keys() == {"sft", "prefer", "rl"}
        assert all(answer.keys() == {"sampled", "greedy"} for answer in row["answers"].values())


def test_the_record_says_what_ran(folder: Path) -> None:
    record = json.loads((folder / "run.json").read_text())
    assert record["config"]["rl"]["iterations"] == 3
    assert record["config"]["output"] == str(folder)
    assert record["versions"]["torch"] == torch.__version__


def test_in_the_second_round_the_promoted_policy_answers_and_sft_learns_from_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def promote_rl(figures: Mapping[str, Any], baseline: str) -> str:
        return "rl" if "before" not in figures else "before"

    monkeypatch.setattr(evaluate, "promoted", promote_rl)
    tiny_loop.run(tmp_path, rounds=2)
    first, second = tmp_path / "round-1", tmp_path / "round-2"
    promoted = fingerprint(first / "rl" / "model")
    sft = fingerprint(tmp_path / "sft" / "model")
    assert promoted != sft
    for name in ("feedback", "reward", "prefer", "rl"):
        assert stage(first / name)["identity"]["inputs"]["model"] == sft
        expected = promoted if name == "feedback" else sft
        assert stage(second / name)["identity"]["inputs"]["model"] == expected
    figures = stage(second / "evaluate")["result"]["figures"]
    assert list(figures) == ["sft", "before", "prefer", "rl"]
    collected = [formats.read_preferences(r / "feedback" / "preferences.jsonl") for r in (first, second)]
    merged = formats.read_preferences(second / "preferences.jsonl")
    assert [(p.messages, p.chosen, p.rejected) for p in merged] == [
        (p.messages, p.chosen, p.rejected) for round_ in collected for p in round_
    ]
    with Store.open(tmp_path / "feedback.db", create=False) as store:
        for number in (1, 2):
            policies = {answer.policy for answer in store.answers(round=number)}
            assert policies == {f"round-{number}"}
            assert store.counts(round=number)["ranking"] > 0
    assert json.loads((tmp_path / "summary.json").read_text())["figures"]


def test_a_policy_that_is_not_measurably_better_is_not_promoted(folder: Path) -> None:
    result = stage(folder / "round-1" / "evaluate")["result"]
    better = {
        name
        for name in ("prefer", "rl")
        if result["figures"][name]["sampled"]["win_rate/judge/total"]["low"] > 0.5
    }
    assert result["promoted"] in (better or {"sft"})


def test_the_loop_speaks_chinese(tmp_path: Path) -> None:
    tiny_loop.run(tmp_path, lang="zh")
    for name in ("text", "demonstrations", "prompts", "test_prompts"):
        text = (tmp_path / "world" / f"{name}.jsonl").read_text(encoding="utf-8")
        assert len(re.findall(r"[\u4e00-\u9fff]", text)) > 300
    assert "rl/win_rate_vs_sft" in json.loads((tmp_path / "summary.json").read_text())["figures"]


def test_the_same_settings_give_the_same_world_and_another_seed_another(tmp_path: Path, folder: Path) -> None:
    tiny_loop.run(tmp_path, skip="[rl, prefer]", seed=1)
    assert fingerprint(tmp_path / "world" / "text.jsonl") != fingerprint(folder / "world" / "text.jsonl")
    assert not (tmp_path / "round-1" / "rl").exists()
    assert list(stage(tmp_path / "round-1" / "evaluate")["result"]["figures"]) == ["sft"]


@pytest.fixture
def own_files(tmp_path: Path, folder: Path) -> dict[str, Any]:
    """A user's model and files, taken from a finished loop, with settings that keep it small."""
    return {
        **tiny_loop.SETTINGS,
        "output": tmp_path / "run",
        "model": str(folder / "pretrain" / "model"),
        "prompts": folder / "world" / "prompts.jsonl",
    }


def run(values: dict[str, Any]) -> Path:
    loop.run(settings.build(loop.LoopConfig, values, what="loop"))
    return Path(values["output"])


def test_a_loop_on_files_without_a_judge_learns_from_them(own_files: dict[str, Any], folder: Path) -> None:
    preferences = folder / "round-1" / "feedback" / "preferences.jsonl"
    output = run({**own_files, "preferences": preferences})
    assert not (output / "round-1" / "feedback").exists()
    assert not (output / "feedback.db").exists()
    figures = stage(output / "round-1" / "evaluate")["result"]["figures"]
    assert "win_rate/reward" in figures["rl"]["sampled"]
    assert "win_rate/judge/total" not in figures["rl"]["sampled"]
    # Nobody judges, so the judgements that the reward model held out say whether the policies side with people.
    held_out = stage(output / "round-1" / "reward")["result"]["heldout_judgements"]
    assert {figures[name]["heldout_agreement"]["n"] for name in ("prefer", "rl")} == {held_out}
    assert "judge/mean" not in rows(output / "round-1" / "rl" / "metrics.jsonl")[0]
    record = json.loads((output / "run.json").read_text())
    assert record["data"] == {
        "prompts": fingerprint(folder / "world" / "prompts.jsonl"),
        "preferences": fingerprint(preferences),
    }
    # No prompt is both learnt from and measured on.
    asked: list[set[tuple[Message, ...]]] = [
        {p.messages for p in formats.read_prompts(output / "prompts" / f"{part}.jsonl")}
        for part in ("train", "test")
    ]
    assert asked[0]
    assert asked[1]
    assert not asked[0] & asked[1]


def test_a_loop_on_files_takes_a_judge_function(
    own_files: dict[str, Any], tmp_path: Path, folder: Path
) -> None:
    judge = tmp_path / "judge.py"
    judge.write_text(
        "def short(prompts, completions, **columns):\n    return [-len(c) for c in completions]\n"
    )
    values = {**own_files, "judge": f"{judge}:short", "data": folder / "world" / "demonstrations.jsonl"}
    output = run(values)
    for preference in formats.read_preferences(output / "round-1" / "feedback" / "preferences.jsonl"):
        assert len(preference.chosen) < len(preference.rejected)
    before = (output / "round-1" / "feedback" / "stage.json").stat().st_mtime_ns
    run(values)
    assert (output / "round-1" / "feedback" / "stage.json").stat().st_mtime_ns == before
    judge.write_text(judge.read_text().replace("-len", "len"))
    run(values)
    for preference in formats.read_preferences(output / "round-1" / "feedback" / "preferences.jsonl"):
        assert len(preference.chosen) > len(preference.rejected)


def test_rl_is_paid_and_measured_by_a_table_of_honesty(folder: Path, tmp_path: Path) -> None:
    asked = [r for r in rows(folder / "world" / "prompts.jsonl") if r["task"] in ("question", "unanswerable")]
    questions = tmp_path / "questions.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in asked))
    given = {"prompts": questions, "max_completion_length": 12}
    model = str(folder / "sft" / "model")
    small = {"iterations": 2, "prompts_per_step": 4, "num_generations": 2, "missing_eos_penalty": 0.0}
    rl.main(
        rl.RlConfig(
            output=tmp_path / "rl", model=model, reward="honesty:graded", algorithm="rloo", **given, **small
        )
    )
    for row in rows(tmp_path / "rl" / "metrics.jsonl"):
        assert -4 <= row["reward"] <= 1
        assert row["reward"] * 8 * 4 == pytest.approx(round(row["reward"] * 8 * 4))  # worths are quarters
    result = evaluate.main(
        evaluate.EvaluateConfig(
            output=tmp_path / "evaluate", models={"rl": model}, judge="honesty:graded", **given
        )
    )
    assert 0 <= result["figures"]["rl"]["sampled"]["judge/answered"]["value"] <= 1


@pytest.mark.parametrize("judge", ["server", "self", "reward"])
def test_without_rl_it_is_rounds_of_preference_optimisation_on_what_a_model_judges(
    judge: str, own_files: dict[str, Any], tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest policy answers, the model chooses, the policy learns from the choices of all rounds."""
    monkeypatch.setattr(evaluate, "promoted", lambda figures, baseline: "prefer")
    people = tmp_path / "people.jsonl"
    people.write_text('{"prompt": "Who?", "chosen": "Ada.", "rejected": "Nobody knows that."}\n')
    words = tmp_path / "words.yaml"
    words.write_text(
        "choices: [a, b]\ncompare: '{conversation} {first}; {second}'\nprinciples: [{compare: c}]\n"
    )
    small = {"max_prompts": 8, "answers_per_prompt": 2, "max_completion_length": 8}
    with critic_server.serving() as (url, seen):
        name, how = {
            "server": (f"ai:{url}#critic", {"people": str(people)}),
            "self": ("self", {"principles": str(words), "anyway": True}),
            "reward": (f"reward:{folder / 'round-1' / 'reward' / 'model'}", {}),
        }[judge]
        given = {
            "judge": name,
            "feedback": {**own_files["feedback"], **small, **how},
            "skip": ["rl"],
            "rounds": 2,
            "lang": "zh",
            "data": folder / "world" / "demonstrations.jsonl",
        }
        output = run({**own_files, **given})
    first, second = output / "round-1", output / "round-2"
    assert not (first / "rl").exists()
    assert stage(second / "feedback")["identity"]["inputs"]["model"] == fingerprint(
        first / "prefer" / "model"
    )
    chosen = [formats.read_preferences(r / "feedback" / "preferences.jsonl") for r in (first, second)]
    learnt = formats.read_preferences(second / "preferences.jsonl")
    assert [p.chosen for p in learnt] == [p.chosen for part in chosen for p in part]
    assert stage(second / "prefer")["result"]["pairs"] <= len(learnt)
    if judge == "server":
        assert all(len(p.chosen) < len(p.rejected) for p in learnt)
        assert stage(second / "feedback")["result"]["agreement"]["value"] == 1.0
        assert all("甲" in body["messages"][0]["content"] for _, _, body in seen)


def test_a_loop_whose_judge_nobody_compared_with_people_stops_before_anything_is_computed(
    own_files: dict[str, Any], folder: Path
) -> None:
    values = {**own_files, "judge": "self", "data": folder / "world" / "demonstrations.jsonl"}
    with pytest.raises(UserError, match="nobody knows yet how far this judge agrees with people"):
        run(values)
    assert not Path(values["output"]).exists()
