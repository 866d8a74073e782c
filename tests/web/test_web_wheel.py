"""The studio from the installed wheel: every template, script and style sheet is in it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from browser_kit import entered, judge_left

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the wheel unpacks to; what it needs comes from this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        str(folder),
        str(ROOT),
    ]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no wheel can be built here: {done.stderr.strip().splitlines()[-1:]}")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.mark.slow
def test_the_wheel_holds_what_the_checkout_holds(installed: Path) -> None:
    for part in ("static", "templates"):
        here = {item.name for item in (ROOT / "src/heedful/web" / part).iterdir()}
        assert {item.name for item in (installed / "heedful/web" / part).iterdir()} == here


@pytest.mark.slow
def test_a_judgement_by_keyboard_in_the_installed_studio(installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    with entered(tmp_path / "f.db", cwd=tmp_path, env=environment) as (page, address):
        page.goto(f"{address}/files")
        rows = '{"prompt": "Why is the sea salty?", "answers": ["Rivers.", "Whales."]}\n'
        page.set_input_files("#prompts-file", {"name": "p.jsonl", "mimeType": "", "buffer": rows.encode()})
        page.locator("form:has(#prompts-file) button").click()
        page.wait_for_selector(".toast.good")
        page.get_by_role("link", name="Batches").click()
        page.fill("#b-name", "first")
        page.select_option("#b-question", "compare")
        page.locator("#new-batch button").click()
        page.wait_for_url("**/batches/*")
        judge_left(page, 1)
