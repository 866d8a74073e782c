"""The report's section about panels: the newest study, and every round; a run without panels has none."""

from pathlib import Path
from typing import Any, Literal

import pytest
from fake_run import stage, write_json

from heedful.report import figures, page
from heedful.report.run import read


def figure(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 3}


def study(loss: float) -> dict[str, Any]:
    names = {"panel/loss": loss, "text/loss": 0.7, "nats/plan/last": 17.5, "nats/people/last": 0.5}
    return {"figures": {name: figure(value) for name, value in names.items()}, "seconds": 1.0}


def made(folder: Path, lang: Literal["en", "zh"] = "en") -> str:
    run = read(folder)
    return page.render(run, figures.summary(run, command="", peak_memory_bytes=0), lang)


@pytest.mark.parametrize(
    ("lang", "words"),
    [
        ("en", ("Panels", "plain text as long", "Before any round", "Round 2")),
        ("zh", ("面板", "同样长的纯文本", "各轮之前")),
    ],
)
def test_a_study_and_its_rounds_are_shown(
    tmp_path: Path, lang: Literal["en", "zh"], words: tuple[str, ...]
) -> None:
    write_json(tmp_path / "run.json", {"command": "x"})
    for number, f1 in enumerate((0.561, 0.6, 0.622)):
        folder = tmp_path / f"round-{number}" if number else tmp_path
        stage(folder / "panel_study", study(0.25 - 0.01 * number))
        stage(folder / "panel_extract", {"scores": {"all": {"f1": f1}}, "seconds": 1.0})
    html = made(tmp_path, lang)
    assert all(word in html for word in words)
    for text in ("0.561", "0.622", "0.250", "0.230", "0.230 [0.130, 0.330]", "17.50 [17.40, 17.60]"):
        assert text in html
    assert "0.250 [" not in html  # of the studies the newest is shown whole


def test_a_run_without_panels_has_no_such_section(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"command": "x"})
    assert 'id="panels"' not in made(tmp_path)
    stage(tmp_path / "panel_extract", {"scores": {}, "seconds": 1.0})
    assert 'id="panels"' not in made(tmp_path)
