"""The prefer stage computes the reference once, however often it is run."""

from pathlib import Path
from typing import Any

import pytest

from heedful.engine import reference
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
