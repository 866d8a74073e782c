"""The examples of docs/serve.md run against a live server."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from serve import live

PAGE = Path(__file__).parents[2] / "docs" / "serve.md"
EXAMPLES = re.findall(r"^```(sh|py)\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("language", "code"), EXAMPLES)
def test_an_example_runs(server: live.Live, language: str, code: str) -> None:
    if "litellm" in code:
        pytest.skip("litellm takes a minute to import: tests/serve/test_openai_client.py runs it")
    if "openai" in code and find_spec("openai") is None:
        pytest.skip("the example needs openai")
    if language == "sh" and shutil.which("curl") is None:
        pytest.skip("no curl here")
    command = ["sh", "-ec", code] if language == "sh" else [sys.executable, "-W", "ignore", "-c", code]
    told = {"URL": server.v1, "HEEDFUL_API_KEY": live.KEY, "MODEL": "tiny", "REWARD": "judge"}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **told})
    assert done.returncode == 0, done.stderr[-1500:]
    assert done.stdout.strip()
