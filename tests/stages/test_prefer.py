"""The prefer stage computes the reference once, however often it is run."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from heedful.engine import reference
from heedful.losses import find
from heedful.stages import prefer
from stages import saved


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many trees each forward of the reference read."""
    read: list[int] = []
    compute = reference.sequence_columns

    def counted(model: Any, trees: Any, name: str, **kwargs: Any) -> Any:
        read.append(len(trees))
        return compute(model, trees, name, **kwargs)

    monkeypatch.setattr(reference, "sequence_columns", counted)
    return read


def run(folder: Path, name: str, **values: Any) -> bytes:
    output = folder / name
    settings = {"model": str(folder / "policy"), "data": folder / "preferences.jsonl", "tokens_per_step": 100}
    prefer.main(prefer.PreferConfig(output=output, **{**settings, **values}))
    return saved.weights(output / "model")


def test_a_second_run_with_other_settings_computes_no_reference_and_differs_in_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int]
) -> None:
    saved.models(tmp_path)
    saved.preferences(tmp_path)
    monkeypatch.setenv("HEEDFUL_CACHE", "")
    expected = run(tmp_path, "alone"), run(tmp_path, "faster", learning_rate=1e-3, epochs=2)
    assert sum(computed) == 2 * 18
    monkeypatch.setenv("HEEDFUL_CACHE", str(tmp_path / "cache"))
    assert run(tmp_path, "first") == expected[0]
    assert sum(computed) == 3 * 18
    assert run(tmp_path, "second", learning_rate=1e-3, epochs=2) == expected[1]
    assert sum(computed) == 3 * 18
    assert expected[0] != expected[1]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    saved.models(tmp_path)
    saved.preferences(tmp_path)
    monkeypatch.setenv("HEEDFUL_CACHE", "")
    return tmp_path


def result(folder: Path, name: str, **values: Any) -> dict[str, Any]:
    settings = {"model": str(folder / "policy"), "data": folder / "preferences.jsonl", "tokens_per_step": 100}
    config = {"output": folder / name, "learning_rate": 5e-3, "epochs": 3, **settings, **values}
    return prefer.main(prefer.PreferConfig(**config))


@pytest.mark.parametrize("loss", list(find.names()))
def test_every_loss_learns_who_was_preferred(start: Path, loss: str) -> None:
    found = result(start, loss, loss=loss, heldout_ratio=0.3)
    assert found["heldout_accuracy"] == 1
    rows = [json.loads(line) for line in (start / loss / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1][loss] < rows[0][loss]
    assert loss in prefer.line(found)


def test_contrast_lowers_answers_of_other_prompts(start: Path) -> None:
    found = result(start, "contrast", loss="contrast", borrowed=3, heldout_ratio=0.4)
    assert found["heldout_accuracy"] > 0.5  # it was 0: no answer had gained anything
    assert found["pairs"] == 4 * found["prompts"]


def test_a_loss_has_its_own_settings_and_the_stage_tells_them_from_its_own() -> None:
    given = {"output": "x", "model": "m", "data": "d"}
    config = prefer.PreferConfig(**given, loss="simpo", beta=10, gamma=3)  # type: ignore[call-arg]
    assert config.loss_settings == {"beta": 10, "gamma": 3}
    assert prefer.PreferConfig(**config.model_dump()) == config
    for wrong, sentence in [
        ({"loss": "simppo"}, "Did you mean 'simpo'"),
        ({"gamma": 1}, "loss dpo has no setting 'gamma'"),
        ({"lerning_rate": 1}, "Did you mean 'learning_rate'"),
        ({"loss": "kto", "borrowed": 1}, "borrowed means nothing with loss=kto"),
        ({"beta": "much"}, "not a number"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            prefer.PreferConfig(**given, **wrong)


def test_the_base_below_an_adapter_is_the_reference(start: Path) -> None:
    """With the adapter switched off, and from the base's own folder: the same numbers."""
    result(start, "first", lora_r=4)
    adapter = str(start / "first" / "model")
    losses = [
        result(start, name, model=adapter, lora_r=rank, reference=reference, learning_rate=1e-9)[
            "heldout_loss"
        ]
        for name, rank, reference in (
            ("off", 4, "base"),
            ("folder", 4, str(start / "policy")),
            ("merged", 0, "base"),
            ("start", 4, "start"),
        )
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert losses[0] == pytest.approx(losses[2], abs=1e-4)
    assert losses[3] == pytest.approx(math.log(2), abs=1e-3)
    assert abs(losses[0] - losses[3]) > 0.01


def test_it_says_when_the_chosen_answers_become_less_likely() -> None:
    found = {"loss": "dpo", "pairs": 3, "heldout_accuracy": 0.7, "chosen_drift": -5.0}
    assert "it FELL" in prefer.line(found)
    assert "it FELL" not in prefer.line({**found, "chosen_drift": 0.5})
