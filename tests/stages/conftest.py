"""What tests of stages share."""

from typing import Any

import pytest

from heedful.engine import reference


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
