"""`heedful selfcheck`: a table that fits a terminal, both languages, JSON, exit codes."""

import json
from pathlib import Path

import pytest
from rich.cells import cell_len
from transformers import MambaConfig

import tiny
from cli.kit import Heedful
from heedful.engine import selfcheck
from heedful.nn import hub
from heedful.stages import selfcheck as stage


def test_a_sound_model_passes_and_the_table_fits(heedful: Heedful, model: Path) -> None:
    ended = heedful("selfcheck", model)
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert max(map(cell_len, lines)) <= 80
    assert lines[0].startswith("llama, ")
    assert "packed rows, built-in sentences" in lines[0]
    assert sum(line.rstrip().endswith("pass") for line in lines) == stage.LAWS
    assert lines[-1].startswith("All 14 laws hold (")
    assert "…" not in ended.out


def test_the_table_in_chinese(heedful: Heedful, model: Path) -> None:
    ended = heedful("selfcheck", model, "lang=zh")
    assert ended.code == 0
    assert max(map(cell_len, ended.out.splitlines())) <= 80
    assert ended.out.count("通过") == stage.LAWS
    assert "贪心 = transformers 的 generate" in ended.out
    assert "14 条定律全部成立" in ended.out


def test_both_languages_say_the_same_things() -> None:
    assert stage.ENGLISH.keys() == stage.CHINESE.keys()


def test_json_of_a_model_without_a_tokenizer(heedful: Heedful, tmp_path: Path) -> None:
    tiny.model(tiny.padded_configs()["falcon"]).save_pretrained(tmp_path)
    ended = heedful("selfcheck", tmp_path, "--json")
    assert ended.code == 0
    found = json.loads(ended.out)
    assert (found["architecture"], found["attention"], found["texts"]) == ("falcon", "padded", "random")
    assert found["passed"] is True
    assert [row["passed"] for row in found["laws"]] == [True] * stage.LAWS


def test_a_law_that_fails_is_exit_code_1_and_said(
    heedful: Heedful, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selfcheck, "GRADIENT", -1.0)
    ended = heedful("selfcheck", model)
    assert ended.code == 1
    assert "4 of 14 laws do not hold" in ended.out
    assert ended.out.count("FAIL") == 4


def test_ties_and_what_is_not_offered_are_shown() -> None:
    row = {"law": "crowd", "difference": 0, "tolerance": 0, "of": 12, "passed": True, "ties": 2}
    assert stage.cells(row, stage.ENGLISH) == ("0 of 12", "0", "pass, 2 ties")
    assert stage.cells({**row, "ties": 1}, stage.CHINESE) == ("0/12", "0", "通过，1 处舍入平局")
    assert stage.cells({**row, "difference": None, "ties": 0}, stage.ENGLISH) == ("not offered", "", "")


def test_mistakes_are_one_sentence(heedful: Heedful, model: Path, tmp_path: Path) -> None:
    assert "is not a folder" in heedful("selfcheck", "./nowhere").err
    assert "selfcheck has no setting 'land'" in heedful("selfcheck", model, "land=zh").err
    config = MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1)
    tiny.model(config).save_pretrained(tmp_path)
    ended = heedful("selfcheck", tmp_path)
    assert ended.code == 2
    assert "mamba models carry a recurrent state" in ended.err


@pytest.mark.shared
@pytest.mark.parametrize("name", ["stories260K", pytest.param("babyllama-1M", marks=pytest.mark.slow)])
def test_the_real_models_pass(shared: Path, name: str) -> None:
    result = stage.main(stage.SelfcheckConfig(model=str(shared / "models" / name), seed=5))
    assert [row["law"] for row in result["laws"] if not row["passed"]] == []
    assert result["parameters"] == hub.load_model(shared / "models" / name).num_parameters()
