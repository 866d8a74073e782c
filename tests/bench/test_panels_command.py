"""The command behind docs/panels.md runs from nothing to the end, at sizes at which nothing is learnt."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_figure_of_the_panels_page_is_made_in_one_go(tmp_path: Path) -> None:
    pytest.importorskip("llguidance")
    before = (ROOT / "benchmarks" / "panels.json").read_bytes()
    command = [sys.executable, "benchmarks/panels.py", "--quick", "--output", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": "src", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, cwd=ROOT, env=env)
    found = json.loads((tmp_path / "panels.json").read_text())
    assert set(found) >= {
        "base",
        "study",
        "longer",
        "reading",
        "stories",
        "stories_held",
        "stories_fresh",
        "told_right",
        "rounds",
    }
    assert (ROOT / "benchmarks" / "panels.json").read_bytes() == before
