"""A run's folder -> summary.json, report.html and one line. Cheap, so it is made anew each time."""

import json
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from heedful.data import atomic
from heedful.engine import process
from heedful.engine.stage import StageConfig
from heedful.errors import UserError
from heedful.report import figures, headline, page
from heedful.report.run import read
from heedful.types import Lang


class ReportConfig(StageConfig):
    """`run` is the folder of a run; `command` what made it (default: as run.json says); `lang` the page's language
    (default: the run's).
    """

    run: Path
    command: str = ""
    lang: Lang | None = None


def main(config: ReportConfig) -> dict[str, Any]:
    """Write `output`/summary.json and `output`/report.html; return the summary, the report's path and the time."""
    began = time.perf_counter()
    if not config.run.is_dir():
        raise UserError(f"run folder '{config.run}' does not exist: give run=FOLDER that a loop wrote")
    run = read(config.run)
    command = config.command or run.record.get("command", "")
    path = config.output / "summary.json"
    summary = figures.summary(run, command=command, peak_memory_bytes=peak_memory(path, command))
    html = page.render(run, summary, config.lang or run.lang)
    atomic.write_json(path, summary)
    report = config.output / "report.html"
    atomic.write_text(report, html)
    return {"report": str(report), "summary": summary, "seconds": round(time.perf_counter() - began, 3)}


def peak_memory(path: Path, command: str) -> int:
    """The most that a process of this run held: a finished run that is reported again holds little itself."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    before = old["peak_memory_bytes"] if old.get("command") == command else 0
    return max(before, process.peak_memory_bytes())


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    return headline.line(result["summary"])


def table(result: dict[str, Any]) -> Table:
    """The result as a table of 80 columns for the terminal."""
    return headline.table(result["summary"])
