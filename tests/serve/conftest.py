"""One server for the tests of this folder: a model, an adapter beside it, and a reward model."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serve import live


@pytest.fixture(scope="package")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root: Path = tmp_path_factory.mktemp("models")
    return {
        "tiny": live.save(root / "tiny"),
        "other": live.save(root / "other", seed=1),
        "judge": live.save(root / "judge", scorer=True, seed=2),
    }


@pytest.fixture(scope="package")
def server(models: dict[str, str]) -> Iterator[live.Live]:
    with live.serving(
        model=models["tiny"], models={"other": models["other"]}, reward=models["judge"], slots=32
    ) as found:
        yield found
