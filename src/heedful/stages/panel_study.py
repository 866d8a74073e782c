"""The seed paper's claim, measured: the same passages from panels, from plain text and from controls."""

import json
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from heedful.data import atomic, chat, files
from heedful.data.packing import shuffled
from heedful.engine import panel_fit, panel_gains, panel_trees
from heedful.engine.batch import Tree, trained_tokens
from heedful.engine.panel_measure import Tokens, measured
from heedful.engine.panel_trees import Shares
from heedful.engine.randomness import key
from heedful.engine.stage import Inputs, Stage
from heedful.engine.train import TrainingConfig
from heedful.errors import UserError
from heedful.nn import hub
from heedful.panels import requests
from heedful.panels.exchange import Step, from_json, step_of, to_json
from heedful.panels.panel import Panel
from heedful.report import panel_plots
from heedful.stats.intervals import mean_interval

SOME = 200
"""Stories that are made ready at a time."""


class PanelStudyConfig(TrainingConfig):
    """`data` and `heldout` are files of steps; `epochs` passes of the panel arm set the compute of every arm.

    Every arm begins from `model`, which should have learnt to copy from far back: a panel is of use from then on.
    """

    model: str
    data: Path
    heldout: Path
    seeds: int = Field(3, ge=2, le=20)
    passages: int = Field(200, gt=1)
    write: float = Field(1.0, ge=0, le=1)
    update: float = Field(0.7, ge=0, le=1)
    plan: float = Field(0.4, ge=0, le=1)
    read: float = Field(0.5, ge=0, le=1)
    partial: float = Field(0.4, ge=0, le=1)
    learning_rate: float = Field(1e-3, gt=0)


def main(config: PanelStudyConfig) -> dict[str, Any]:
    """Train every arm once a seed, each as long; write figures.json, plots and the arms' models to `output`."""
    inputs: Inputs = {"model": config.model, "data": config.data, "heldout": config.heldout}
    stage = Stage("panel_study", config, inputs)
    if (done := stage.finished()) is not None:
        return done
    steps, heldout = read_steps(config.data), read_steps(config.heldout)
    tokenizer = hub.load_tokenizer(config.model)
    chat.ensure_chat_template(tokenizer)
    asked = [s for s in heldout if s.before.plan][: config.passages]
    if not asked:
        raise UserError(
            f"{config.heldout} has no step whose panel before holds a plan: there is nothing to write"
        )
    stage.begin()
    atomic.write_json(stage.folder / "fixed.json", to_json(panel_fit.fixed(steps)))
    rows, budget = [], round(config.epochs * size(config, tokenizer, steps))
    for seed in seeds(config):
        for arm in panel_fit.ARMS:
            rows.append(one(config, stage.folder, tokenizer, arm, seed, steps, budget))
        measured_now = figures(config, stage.folder, tokenizer, seed, heldout, asked)
        atomic.write_json(stage.folder / f"seed-{seed}.json", measured_now)
    found = [json.loads((stage.folder / f"seed-{r}.json").read_text("utf-8")) for r in seeds(config)]
    summary = with_intervals(found)
    atomic.write_json(stage.folder / "figures.json", {"arms": rows, "figures": summary})
    atomic.write_text(stage.folder / "losses.svg", panel_plots.losses(summary))
    atomic.write_text(stage.folder / "nats.svg", panel_plots.nats(summary))
    return stage.finish(passages=len(asked), figures=summary, arms=rows)


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    found = result["figures"]
    shown = {
        name: found[name]["value"] for name in ("panel/loss", "text/loss", "gain/panel", "gain/shuffled")
    }
    longer = sum(row.get("too_long", 0) for row in result["arms"])
    left_out = f"; {longer} parts longer than max_length left out" if longer else ""
    return (
        f"{result['passages']} held-out passages: {shown['panel/loss']:.3f} nats a token with the panel, "
        f"{shown['text/loss']:.3f} as plain text ({shown['gain/panel']:.0%} less), shuffled panel "
        f"{shown['gain/shuffled']:+.1%}" + left_out
    )


def read_steps(path: Path) -> list[Step]:
    """The steps of a file."""
    return [step_of(row.data, row.where) for row in files.read_rows(path)]


def seeds(config: PanelStudyConfig) -> range:
    """The seeds that are compared."""
    return range(config.seed, config.seed + config.seeds)


def one(
    config: PanelStudyConfig,
    folder: Path,
    tokenizer: Any,
    arm: panel_fit.Arm,
    seed: int,
    steps: Sequence[Step],
    budget: int,
) -> dict[str, Any]:
    """Train one arm with one seed on `budget` tokens, unless its model lies there already, and say what it cost."""
    place, note = folder / f"{arm}-{seed}", folder / f"{arm}-{seed}.json"
    if place.is_dir() and note.is_file():
        return dict(json.loads(note.read_text("utf-8")))
    constant = json_panel(folder, "fixed")
    too_long: list[int] = []
    given = counted(passes(config, arm, tokenizer, steps, constant, seed), too_long)
    trees = panel_fit.stream(given, tokens=budget, seed=seed)
    model = hub.load_model(config.model)
    tokens, losses = panel_fit.learn(model, trees, config, f"{arm} {seed}")
    with atomic.new_folder(place) as target:
        hub.save_model(target, model, tokenizer)
    row = {
        "arm": arm,
        "seed": seed,
        "tokens": tokens,
        "trained_tokens": trained_tokens(trees),
        "too_long": sum(too_long),
        "losses": losses,
    }
    atomic.write_json(note, row)
    return row


def passes(
    config: PanelStudyConfig,
    arm: panel_fit.Arm,
    tokenizer: Any,
    steps: Sequence[Step],
    constant: Panel,
    seed: int,
) -> Iterator[tuple[list[Tree], int]]:
    """An arm's trees, some stories at a time, and how many were too long: each pass is of other parts, in new order."""
    rows = panel_fit.stories(steps)
    for number in count():
        order = shuffled(len(rows), key("stories", seed), number)
        for start in range(0, len(order), SOME):
            yield panel_fit.trees_of(
                arm,
                tokenizer,
                [s for i in order[start : start + SOME] for s in rows[i]],
                shares(config),
                constant=constant,
                seed=seed * 1000 + number,
                max_length=config.max_length,
                window=window(config),
            )


def counted(passes: Iterator[tuple[list[Tree], int]], too_long: list[int]) -> Iterator[list[Tree]]:
    """The trees of passes; how many were too long is noted in `too_long`."""
    for trees, left_out in passes:
        too_long.append(left_out)
        yield trees


def size(config: PanelStudyConfig, tokenizer: Any, steps: Sequence[Step]) -> int:
    """About how many tokens one pass of the panel arm is computed on, as a part of the stories tells."""
    rows = panel_fit.stories(steps)
    some = [s for row in rows[:SOME] for s in row]
    trees, _ = panel_trees.trees(
        tokenizer, some, shares(config), max_length=config.max_length, seed=config.seed
    )
    return round(sum(t.size for t in trees) * len(rows) / min(SOME, len(rows)))


def shares(config: PanelStudyConfig) -> Shares:
    """How often each part of a step is trained on in the panel arm."""
    return Shares(config.write, config.update, config.plan, config.read, config.partial)


def window(config: PanelStudyConfig) -> int:
    """How many tokens of plain text stand in one row of the text arm: as many as its window at the test, and more."""
    return config.max_length - 2


def figures(
    config: PanelStudyConfig,
    folder: Path,
    tokenizer: Any,
    seed: int,
    heldout: Sequence[Step],
    asked: Sequence[Step],
) -> dict[str, float]:
    """Everything that is measured with one seed's models, as flat names."""
    model = {arm: hub.load_model(folder / f"{arm}-{seed}") for arm in panel_fit.ARMS}
    before = [s.before for s in asked]
    others = [s.before for s in panel_fit.strangers(asked, seed)]
    same = [json_panel(folder, "fixed")] * len(asked)
    rows = {
        "panel": panel_gains.under(model["panel"], tokenizer, asked, before),
        "shuffled": panel_gains.under(model["shuffled"], tokenizer, asked, others),
        "fixed": panel_gains.under(model["fixed"], tokenizer, asked, same),
        "tested shuffled": panel_gains.under(model["panel"], tokenizer, asked, others),
        "text": as_text(model["text"], tokenizer, heldout, asked),
        "longer text": as_text(model["text"], tokenizer, heldout, asked, room=window(config)),
    }
    found = {f"{name}/{k}": v for name, row in rows.items() for k, v in panel_gains.summary(row).items()}
    found["gain/panel"] = 1 - found["panel/loss"] / found["text/loss"]
    found["gain/shuffled"] = 1 - found["shuffled/loss"] / found["fixed/loss"]
    found["gain/tested shuffled"] = 1 - found["tested shuffled/loss"] / found["fixed/loss"]
    for field, nats in panel_gains.by_field(model["panel"], tokenizer, asked).items():
        found |= {f"nats/{field}/{k}": v for k, v in nats.items()}
    return found | panel_gains.leaks(tokenizer, asked, {n: rows[n] for n in ("panel", "text", "fixed")})


def json_panel(folder: Path, name: str) -> Panel:
    """A panel that lies in the stage's folder."""
    return from_json(json.loads((folder / f"{name}.json").read_text("utf-8")))


def as_text(
    model: Any, tokenizer: Any, heldout: Sequence[Step], asked: Sequence[Step], room: int | None = None
) -> list[Tokens]:
    """The passages after the story's own newest text: as much as the panel's prompt has tokens, or as `room` holds."""
    told = {row[0].story: [s.passage for s in row] for row in panel_fit.stories(heldout)}
    place = {(s.story, s.index): n for row in panel_fit.stories(heldout) for n, s in enumerate(row)}
    contexts = []
    for step in asked:
        fits = len(chat.render_prompt(tokenizer, requests.write(step.before, step.condition)))
        if room is not None:
            fits = room - len(panel_trees.encoded(tokenizer, step.passage))
        earlier = told[step.story][: place[step.story, step.index]]
        contexts.append(panel_trees.recent(tokenizer, earlier, tokens=fits))
    return measured(model, tokenizer, contexts, [s.passage for s in asked])


def with_intervals(rows: Sequence[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Each figure's mean over the seeds with Student's 95 % interval."""
    found = {}
    for name in rows[0]:
        e = mean_interval(np.asarray([row[name] for row in rows]))
        found[name] = {"value": e.value, "low": e.low, "high": e.high, "n": e.n}
    return found
