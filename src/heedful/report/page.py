"""A run -> one self-contained HTML page: no script, no network, every text escaped."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from heedful.report import cautions, digits, figures, loop_picture, panel_section, samples, sections, tables
from heedful.report.cautions import Caution
from heedful.report.figures import Outcome
from heedful.report.run import Run
from heedful.report.view import View
from heedful.report.wording import Words, clean
from heedful.types import Lang

HERE = Path(__file__).parent


def render(run: Run, summary: Mapping[str, Any], lang: Lang) -> str:
    """The page of a run and its summary. The same input gives the same bytes."""
    words = Words(lang)
    view = View(run, summary, words)
    outcome = view.outcome
    made = [
        sections.reward(view),
        sections.rl(view),
        panel_section.section(view),
        sections.losses(view),
        sections.time(view),
    ]
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.jinja").render(
        lang="zh-CN" if lang == "zh" else "en",
        words=words,
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        name=clean(run.name),
        verdict=verdict(view, outcome),
        round_note=_round_note(view),
        cards=tables.cards(view),
        warned=warned(view),
        no_cautions=words("no_cautions" if outcome and outcome.judge else "no_cautions_reward"),
        drawing=loop_picture.draw(view),
        wins=sections.wins(view),
        sections=[section for section in made if section is not None],
        table=tables.policies(view, outcome) if outcome else None,
        history=tables.history(view),
        samples=list(samples.samples(view, outcome)) if outcome else [],
        samples_note=_samples_note(view, outcome) if outcome else "",
        facts=tables.facts(view),
        figures=tables.all_figures(view),
        settings=clean(json.dumps(run.record.get("config", {}), indent=1, ensure_ascii=False)),
    )


def verdict(view: View, outcome: Outcome | None) -> str:
    """Who was promoted, in one sentence."""
    words = view.words
    if outcome is None:
        return words("unfinished")
    values = {"baseline": view.policy(outcome.baseline), "judge": view.judge(outcome)}
    rate = view.figures.get(outcome.main_win_rate(outcome.promoted))
    if rate is None:
        return words("kept", n=digits.number(outcome.prompts), **values)
    shown = f"{digits.value_of(rate)} {digits.interval(rate)}"
    return words(
        "promoted", policy=view.policy(outcome.promoted), rate=shown, n=digits.number(rate["n"]), **values
    )


def warned(view: View) -> list[str]:
    """The sentences of every rule that fired, round by round."""
    run = view.run
    if len(run.rounds) < 2:
        return [_sentence(view, view.outcome, c) for c in cautions.find(view.figures, view.outcome)]
    found: list[str] = []
    earlier: dict[str, figures.Figure] = {}
    before: Outcome | None = None
    for number, stages in run.rounds.items():
        outcome, known = figures.outcome(stages), figures.of_stages(stages)
        fired = [
            *cautions.find(known, outcome),
            *cautions.since(known, earlier, outcome),
            *cautions.in_hindsight(known, earlier, outcome, before),
        ]
        for caution in fired:
            text = _sentence(view, outcome, caution)
            found.append(view.words("in_round", number=number, text=text))
        earlier, before = known, outcome
    return found


def _sentence(view: View, outcome: Outcome | None, caution: Caution) -> str:
    values = dict(caution.values)
    if outcome is not None:
        values["baseline"] = view.policy(outcome.baseline)
    if "policy" in values:
        values["policy"] = view.policy(values["policy"])
    if "task" in values:
        values["task"] = view.words.named("task", values["task"])
    return view.words(f"caution_{caution.rule}", **values)


def _round_note(view: View) -> str:
    count = len(view.run.rounds)
    return view.words("round", number=view.run.shown, count=count) if count > 1 else ""


def _samples_note(view: View, outcome: Outcome) -> str:
    if outcome.judge is None:
        return view.words("samples_note_plain")
    reward = view.words("samples_reward") if f"{outcome.baseline}/reward" in view.figures else ""
    return view.words("samples_note", judge=view.judge(outcome), reward=reward)
