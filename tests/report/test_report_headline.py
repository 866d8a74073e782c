"""What the terminal shows of a finished run."""

import io
from pathlib import Path
from typing import Any

import fake_run
from rich.console import Console

from heedful.stages import report


def reported(folder: Path) -> dict[str, Any]:
    return report.main(report.ReportConfig(run=folder, output=folder))


def test_one_line_says_who_wins_and_how_the_reward_model_stands(tmp_path: Path) -> None:
    assert report.line(reported(fake_run.build(tmp_path))) == (
        "RL beats SFT in 78.3 % [75.9, 80.7] of 1100 prompts, DPO in 71.2 % [68.5, 73.9]; "
        "reward model 76 % vs annotators 73 %"
    )


def test_the_policy_learnt_from_comparisons_is_called_by_its_loss(tmp_path: Path) -> None:
    fake_run.build(tmp_path)
    identity = {"config": {"loss": "simpo"}, "inputs": {}}
    fake_run.write_json(
        tmp_path / "round-1" / "prefer" / "stage.json", {"identity": identity, "result": {"seconds": 1.0}}
    )
    assert "simpo in 71.2 % [68.5, 73.9]" in report.line(reported(tmp_path))
    assert "DPO" not in report.line(reported(tmp_path))


def test_the_line_says_when_only_the_reward_model_judged(tmp_path: Path) -> None:
    fake_run.build(tmp_path)
    fake_run.stage(tmp_path / "round-1" / "evaluate", fake_run.evaluation(judge=None))
    assert report.line(reported(tmp_path)).startswith(
        "RL beats SFT in 87.0 % [85.0, 89.0] of 1100 prompts by its reward model's view, DPO in 76.0 %"
    )


def test_a_run_that_was_not_evaluated_says_so(tmp_path: Path) -> None:
    fake_run.stage(tmp_path / "sft", {"heldout_loss": 0.8, "seconds": 3.0})
    result = reported(tmp_path)
    assert report.line(result) == "not evaluated yet; finished: sft"
    assert report.table(result).row_count == 0


def test_rounds_before_and_odd_names_do_not_confuse_the_line(tmp_path: Path) -> None:
    evaluated = fake_run.evaluation()
    evaluated["figures"] = {"sft": evaluated["figures"]["sft"], "my/own": evaluated["figures"]["rl"]}
    fake_run.build(tmp_path, rounds=2)
    fake_run.stage(tmp_path / "round-2" / "evaluate", evaluated | {"promoted": "my/own"})
    fake_run.write_rows(tmp_path / "round-2" / "evaluate" / "answers.jsonl", [])
    assert report.line(reported(tmp_path)).startswith(
        "my/own beats SFT in 78.3 % [75.9, 80.7] of 1100 prompts; "
    )


def test_the_table_fits_eighty_columns_with_four_policies(tmp_path: Path) -> None:
    evaluated = fake_run.evaluation()
    evaluated["figures"]["before"] = evaluated["figures"]["prefer"]
    fake_run.build(tmp_path)
    fake_run.stage(tmp_path / "round-1" / "evaluate", evaluated)
    console = Console(width=80, file=io.StringIO())
    console.print(report.table(reported(tmp_path)))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    lines = [line.split() for line in text.splitlines()]
    assert ["RL", "78.3", "[75.9,", "80.7]", "75.3", "87.0", "0.78", "5.30", "99.1", "24.8"] in lines
    assert [line[0] for line in lines if len(line) > 4][-4:] == ["SFT", "before", "DPO", "RL"]
