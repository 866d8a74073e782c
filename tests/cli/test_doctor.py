"""`heedful doctor`: what the machine gives, and what a stage will take, before it takes it."""

import json
from pathlib import Path

import pytest
import torch

from cli.kit import Heedful
from heedful.engine import checkup, machine


def test_the_machine_is_a_table_of_80_columns_and_the_same_as_json(
    heedful: Heedful, monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = {"matmul_fp32_gflops": 100.0, "matmul_bf16_gflops": 1000.0, "copy_gb_per_second": 9.9}
    monkeypatch.setattr(checkup, "ceilings", lambda device: speed)
    monkeypatch.setattr(machine, "free_cores", lambda threads: 0.9 * threads)
    shown = heedful("doctor")
    assert shown.code == 0
    lines = shown.out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert any(line.split()[:3] == ["matmul", "cpu", "fp32"] for line in lines)
    found = json.loads(heedful("doctor", "--json").out)
    assert found["memory"] == machine.memory()
    assert found["cores"] == machine.cores()
    assert found["speed"]["cpu"] == speed


def test_ceilings_are_measured() -> None:
    found = checkup.ceilings(torch.device("cpu"))
    assert len(found) == 3
    assert all(value > 0 for value in found.values())


def test_a_forecast_takes_the_stages_own_settings(
    heedful: Heedful, model: Path, data: dict[str, Path]
) -> None:
    words = [f"data={data['conversations']}", "tokens_per_step=256", "epochs=2"]
    found = json.loads(heedful("doctor", "--stage", "sft", "--model", model, "--json", *words).out)
    assert found["sizes"]["steps"] > 1
    assert found["sizes"]["step"] < 300
    assert found["peak_memory_bytes"] == max(found["peak"].values()) > 50e6
    assert found["seconds_per_step"] > 0


def test_a_forecast_of_pretraining_is_of_the_model_that_it_would_make(
    heedful: Heedful, model: Path, data: dict[str, Path]
) -> None:
    words = [f"data={data['texts']}", f"tokenizer={model}", "hidden_size=32", "layers=2", "heads=2"]
    small, large = (
        json.loads(heedful("doctor", "--stage", "pretrain", "--json", *words, more).out)
        for more in ("max_length=64", "layers=4")
    )
    assert small["trained"] == small["parameters"] < large["parameters"]
    assert small["sizes"]["steps"] >= 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--stage", "sfd"], "Did you mean 'sft'"),
        (["--stage", "sft"], "add --model"),
        (["--stage", "pretrain"], "add tokenizer="),
        (["--stage", "sft", "--model", "no/such/folder"], "is not a folder"),
        (["--stage", "sft", "--model", "m", "learning_rat=1"], "learning_rate"),
        (["learning_rate=1"], "add --stage"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence(heedful: Heedful, words: list[str], says: str) -> None:
    ended = heedful("doctor", *words)
    assert ended.code == 2
    assert says in ended.err
    assert ended.err.count("\n") == 1
