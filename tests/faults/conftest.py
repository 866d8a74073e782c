"""One whole loop that nothing disturbed, for all that were disturbed to be compared with."""

from pathlib import Path
from typing import Any

import pytest

from faults import lives
from faults.outcome import outcome
from loop import tiny_loop


@pytest.fixture(scope="session")
def undisturbed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert lives.live(tiny_loop.run, folder) == 0
    return folder


@pytest.fixture(scope="session")
def undisturbed(undisturbed_folder: Path) -> dict[str, Any]:
    return outcome(undisturbed_folder)
