"""The figures of summary.json: their names, values, shape, and what happens where stages are missing."""

import json
import shutil
from pathlib import Path

import fake_run
import pytest

from heedful.errors import UserError
from heedful.report import figures, run
from heedful.stages import report


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run.build(tmp_path_factory.mktemp("run") / "demo")


def test_the_summary_has_exactly_the_shape_that_is_promised(demo: Path) -> None:
    result = report.main(report.ReportConfig(run=demo, output=demo, command="heedful demo seed=7"))
    summary = json.loads((demo / "summary.json").read_text(encoding="utf-8"))
    assert summary == result["summary"]
    assert list(summary) == [
        "command",
        "seed",
        "commit",
        "device",
        "threads",
        "prefer_loss",
        "seconds",
        "peak_memory_bytes",
        "figures",
    ]
    assert summary["command"] == "heedful demo seed=7"
    assert (summary["seed"], summary["commit"], summary["threads"]) == (7, "0a1b2c3", 2)
    assert summary["peak_memory_bytes"] > 10**7
    for figure in summary["figures"].values():
        assert list(figure) == ["value", "low", "high", "n", "unit"]
        assert isinstance(figure["value"], int | float)
        if figure["low"] is not None:
            assert figure["low"] <= figure["value"] <= figure["high"]


def test_headline_figures_are_those_that_the_stages_left(demo: Path) -> None:
    found = figures.figures(run.read(demo))
    expected = {
        "pretrain/heldout_loss": 1.21,
        "sft/heldout_loss": 0.83,
        "feedback/annotator_agreement": 0.731,
        "reward/heldout_accuracy": 0.741,
        "reward/accuracy_on_the_same_pairs": 0.762,
        "reward/gold_accuracy": 0.864,
        "rl/win_rate_vs_sft": 0.783,
        "rl/win_rate_vs_sft_greedy": 0.783 - 0.03,
        "rl/win_rate_vs_sft_by_reward_model": 0.87,
        "prefer/win_rate_vs_sft": 0.712,
        "rl/ties_vs_sft": 0.21,
        "rl/kl": 5.3,
        "rl/stop_rate": 0.991,
        "rl/length": 24.8,
        "rl/repetition": 0.014,
        "sft/stop_rate": 0.987,
        "sft/harmless": 0.77,
        "rl/grade": 0.78,
        "rl/correct": 0.86,
    }
    assert {name: found[name]["value"] for name in expected} == pytest.approx(expected)
    assert {t for t in fake_run.TASKS if f"rl/win_rate_vs_sft/{t}" in found} == set(fake_run.TASKS)
    assert found["rl/win_rate_vs_sft"]["n"] == 1100
    assert found["rl/win_rate_vs_sft"]["unit"] == "share"
    assert found["sft/heldout_loss"]["n"] == 8032
    assert not any(name.startswith("round-") for name in found)


def test_seconds_are_summed_over_rounds_and_stand_in_loop_order(tmp_path: Path) -> None:
    seconds = run.read(fake_run.build(tmp_path, rounds=2)).seconds
    assert list(seconds) == list(run.STAGES)
    assert seconds["pretrain"] == 95.2
    assert seconds["rl"] == pytest.approx(2 * 121.7)


def test_of_several_rounds_the_last_evaluated_one_has_the_plain_names(tmp_path: Path) -> None:
    fake_run.build(tmp_path, rounds=2)
    better = fake_run.evaluation(change={"rl": {"kl": fake_run.mean(9.0, 0.2)}})
    fake_run.round_folder(tmp_path / "round-10", evaluated=better)
    fake_run.stage(tmp_path / "round-11" / "feedback", {"rankings": 5, "seconds": 1.0})
    found = figures.figures(run.read(tmp_path))
    assert found["rl/kl"]["value"] == found["round-10/rl/kl"]["value"] == 9.0
    assert found["round-1/rl/kl"]["value"] == 5.3
    assert found["feedback/rankings"]["value"] == 2000
    assert found["round-11/feedback/rankings"]["value"] == 5


def test_without_a_judge_no_win_rate_passes_for_the_judges(tmp_path: Path) -> None:
    fake_run.build(tmp_path)
    fake_run.stage(tmp_path / "round-1" / "evaluate", fake_run.evaluation(judge=None))
    stages = run.read(tmp_path).stages
    found, outcome = figures.of_stages(stages), figures.outcome(stages)
    assert "rl/win_rate_vs_sft" not in found
    assert outcome is not None
    assert outcome.main_win_rate("rl") == "rl/win_rate_vs_sft_by_reward_model"
    assert found[outcome.main_win_rate("rl")]["value"] == 0.87


def test_values_that_do_not_exist_are_left_out() -> None:
    assert figures.as_figure(None, "share") is None
    assert figures.as_figure(float("nan"), "share") is None
    assert figures.as_figure({"value": None, "low": None, "high": None, "n": 0}, "share") is None
    found = figures.as_figure({"value": 0.5, "low": float("-inf"), "high": None, "n": 1}, "share")
    assert found == {"value": 0.5, "low": None, "high": None, "n": 1, "unit": "share"}


def test_unfinished_and_missing_stages_are_skipped_and_cut_rows_end_the_curve(tmp_path: Path) -> None:
    fake_run.build(tmp_path)
    for name in ("world", "tokenizer", "pretrain"):
        shutil.rmtree(tmp_path / name)
    fake_run.write_json(
        tmp_path / "round-1" / "rl" / "stage.json", {"identity": {"config": {}, "inputs": {}}}
    )
    with (tmp_path / "sft" / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 130, "lo')
    read = run.read(tmp_path)
    assert list(read.seconds) == ["sft", "feedback", "reward", "prefer", "evaluate"]
    assert len(read.once["sft"].rows) == 130
    assert "rl/episodes" not in figures.figures(read)


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_damaged_file_and_an_empty_folder_give_one_sentence(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match="holds no run"):
        run.read(tmp_path)
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="run the same command again"):
        run.read(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        report.main(report.ReportConfig(run=tmp_path / "no", output=tmp_path))


def test_the_peak_memory_of_a_finished_run_is_kept_when_it_is_reported_again(tmp_path: Path) -> None:
    fake_run.stage(tmp_path / "sft", {"heldout_loss": 0.8, "seconds": 3.0})
    config = report.ReportConfig(run=tmp_path, output=tmp_path)
    report.main(config)
    path = tmp_path / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8"))
    fake_run.write_json(path, summary | {"peak_memory_bytes": 10**15})
    assert report.main(config)["summary"]["peak_memory_bytes"] == 10**15
    other = config.model_copy(update={"command": "heedful demo seed=8"})
    assert report.main(other)["summary"]["peak_memory_bytes"] < 10**15
