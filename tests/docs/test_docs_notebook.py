"""The notebook runs, and what it shows was printed by a run."""

import json
import re
from typing import Any

import docs_kit
import pytest

NOTEBOOK = docs_kit.ROOT / "docs" / "quickstart.ipynb"


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def printed(cell: dict[str, Any]) -> str:
    return "".join("".join(output.get("text", "")) for output in cell["outputs"])


def grades(cell: dict[str, Any]) -> dict[str, tuple[float, float, float]]:
    """Policy -> mean grade, lower and upper end of its interval."""
    found = re.findall(r"^(\w+): mean gold grade ([\d.]+) \[([\d.]+), ([\d.]+)\]", printed(cell), re.M)
    return {name: (float(value), float(low), float(high)) for name, value, low, high in found}


def test_the_committed_notebook_was_executed_in_order_and_without_noise() -> None:
    cells = code_cells(json.loads(NOTEBOOK.read_text(encoding="utf-8")))
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert cell["outputs"]
        assert all(o["output_type"] == "stream" and o["name"] == "stdout" for o in cell["outputs"])
        assert not re.search(r"/\w+/\w+/\w+\.py", printed(cell)), "an output names a folder of some machine"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_notebook_runs_and_the_policy_gets_better() -> None:
    fresh = docs_kit.generator().executed(NOTEBOOK)
    found = grades(code_cells(fresh)[-1])
    assert list(found) == ["SFT", "DPO", "PPO"]
    assert found["PPO"][1] > found["SFT"][2]
