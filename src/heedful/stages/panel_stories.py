"""Long stories of the built-in world, written with and without panels, and checked against what was told before."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from heedful.data import atomic, files
from heedful.engine import plan_choice, terminal
from heedful.engine.panel_author import Author, open_author
from heedful.engine.panel_story import Heat, Prompts, from_panels, from_text, read_first
from heedful.engine.policy import Policy
from heedful.engine.stage import Inputs, Stage, StageConfig
from heedful.errors import UserError
from heedful.panels import book, budget, desk
from heedful.report import panel_plots
from heedful.stats.estimate import Estimate
from heedful.stats.intervals import bootstrap, mean_interval
from heedful.stats.long_range import of_text
from heedful.types import Lang
from heedful.world import saga, saga_judge


class PanelStoriesConfig(StageConfig):
    """`panel_models` write from panels, `text_models` from the newest text of as many tokens as the panel's prompt.

    Stories with panels `begin` from what the model reads of the opening's text, or from a panel that says the same.
    Of `plans` candidates the one that `choose` likes best is taken: `first`, `rule` (least against the panel),
    `reward:MODEL` or another judge; passages and updates with faults are drawn again, up to `drafts` times in all.
    With a closed `cast` plans and updates are about nobody but whom the panel has.
    """

    panel_models: tuple[Path, ...] = Field(min_length=1)
    text_models: tuple[Path, ...] = Field(min_length=1)
    lang: Lang = "en"
    stories: int = Field(8, ge=2)
    passages: int = Field(50, gt=0)
    begin: Literal["text", "panel"] = "text"
    plans: int = Field(1, ge=1, le=9)
    choose: str = plan_choice.FIRST
    drafts: int = Field(1, ge=1, le=64)
    cast: Literal["open", "closed"] = "open"
    plan_temperature: float = Field(1.0, ge=0)
    prose_temperature: float = Field(0.0, ge=0)
    text_temperatures: tuple[float, ...] = (1.0, 0.5)
    panel_tokens: int = Field(256, gt=0)
    max_completion_length: int = Field(96, gt=0)
    curve_temperatures: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5)
    curve_panels: int = Field(12, ge=0)
    curve_samples: int = Field(6, ge=2)


def main(config: PanelStoriesConfig) -> dict[str, Any]:
    """Write the stories to stories.jsonl; return contradictions, exponents and the curve of diversity."""
    named = {f"panel_models.{n}": p for n, p in enumerate(config.panel_models)}
    inputs: Inputs = {
        **named,
        **{f"text_models.{n}": p for n, p in enumerate(config.text_models)},
        **plan_choice.inputs(config.choose),
    }
    stage = Stage("panel_stories", config, inputs)
    if (done := stage.finished()) is not None:
        return done
    if len(config.panel_models) != len(config.text_models):
        raise UserError("give as many text_models as panel_models: they are compared pair by pair")
    stage.begin()
    truth = [
        list(saga.saga(config.lang, config.seed, n, config.passages, "test")) for n in range(config.stories)
    ]
    rows: list[dict[str, Any]] = [
        verdict("world", 0, n, [p.text for p in t], t[0].state) for n, t in enumerate(truth)
    ]
    prompts: list[dict[str, list[float]]] = []
    curve: list[dict[str, Any]] = []
    with terminal.progress("stories", len(config.panel_models)) as advance:
        for number, (panel_model, text_model) in enumerate(
            zip(config.panel_models, config.text_models, strict=True)
        ):
            author = open_author(str(panel_model))
            found, lengths = with_panels(config, author, truth, number)
            rows += found
            prompts.append(lengths)
            window = [round(n) for n in lengths["write"]]
            rows += with_text(config, Policy.load(text_model), truth, window, number)
            curve += diversity(config, author, truth, number)
            advance(number + 1)
    files.write_jsonl(stage.folder / "stories.jsonl", rows)
    tokens = {
        kind: [round(float(n), 1) for n in np.mean([p[kind] for p in prompts], 0)] for kind in prompts[0]
    }
    atomic.write_text(stage.folder / "prompts.svg", panel_plots.prompts(tokens))
    points = averaged(curve)
    if points:
        atomic.write_text(stage.folder / "curve.svg", panel_plots.curve(points))
    return stage.finish(
        stories=config.stories,
        passages=config.passages,
        models=len(config.panel_models),
        contradictions=rates(rows),
        ratio=ratios(rows, config.seed),
        exponents=exponents(rows),
        words=min(row["words"] for row in rows if row["kind"] == "panel"),
        prompt_tokens={kind: summary_of(prompts, kind) for kind in prompts[0]},
        cut_panels=sum(row.get("cut_panels", 0) for row in rows),
        curve=points,
    )


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    rate = {name: row["value"] for name, row in result["contradictions"].items()}
    shown = ", ".join(f"{name} {value:.1f}" for name, value in rate.items())
    cut = f"; {result['cut_panels']} panels were too long to be shown whole" if result["cut_panels"] else ""
    return f"contradictions per 1,000 words over {result['passages']} passages: {shown}{cut}"


def verdict(
    kind: str, model: int, story: int, passages: Sequence[str], state: saga.State, panels: Sequence[Any] = ()
) -> dict[str, Any]:
    """One story with what the gold judge says of it; the opening is not the model's and is not counted."""
    whole = saga_judge.judge(state, passages)
    first = saga_judge.judge(state, passages[:1])
    return {
        "kind": kind,
        "model": model,
        "story": story,
        "words": whole.words - first.words,
        "contradictions": len(whole.contradictions),
        "strangers": whole.strangers,
        "unread": whole.unread,
        "checked": whole.checked - first.checked,
        "sentences": whole.sentences - first.sentences,
        "why": [why for _, why in whole.contradictions],
        "passages": list(passages),
    }


def with_panels(
    config: PanelStoriesConfig, author: Author, truth: Sequence[Sequence[saga.Passage]], number: int
) -> tuple[list[dict[str, Any]], dict[str, list[float]]]:
    """Stories from panels, each begun as `begin` says."""
    seed = (config.seed, "stories", number)
    if config.begin == "text":
        openings = [t[0].text for t in truth]
        desks = read_first(author, openings, config.lang, seed=seed, drafts=config.drafts)
    else:
        desks = [desk.begin(f"story {n}", t[0].after.without("plan")) for n, t in enumerate(truth)]
    lengths = Prompts()
    heat = Heat(config.plan_temperature, config.prose_temperature)
    for now in from_panels(
        author,
        desks,
        config.passages,
        heat,
        seed=seed,
        plans=config.plans,
        choose=plan_choice.find(config.choose, model=str(config.panel_models[number])),
        drafts=config.drafts,
        closed=config.cast == "closed",
        panel_tokens=config.panel_tokens,
        max_completion_length=config.max_completion_length,
        prompts=lengths,
    ):
        desks = now
    rows = [
        verdict("panel", number, n, [t[0].text, *desk.passages(d)[-config.passages :]], t[0].state)
        | {"cut_panels": cut_panels(config, author, d)}
        for n, (t, d) in enumerate(zip(truth, desks, strict=True))
    ]
    return rows, lengths.tokens


def cut_panels(config: PanelStoriesConfig, author: Author, story: desk.Desk) -> int:
    """Passages whose panel was too long to be shown whole."""
    shown = [t.before for t in desk.path(story)[-config.passages :]]
    return sum(bool(budget.fit(panel, author.length, config.panel_tokens)[1]) for panel in shown)


def with_text(
    config: PanelStoriesConfig,
    policy: Policy,
    truth: Sequence[Sequence[saga.Passage]],
    window: Sequence[int],
    number: int,
) -> list[dict[str, Any]]:
    """Stories from the newest text, at each temperature."""
    rows = []
    for temperature in config.text_temperatures:
        told = from_text(
            policy,
            [t[0].text for t in truth],
            config.passages,
            window,
            temperature=temperature,
            seed=(config.seed, "stories", number),
            max_completion_length=config.max_completion_length,
        )
        kind = f"text at {temperature:g}"
        rows += [
            verdict(kind, number, n, p, t[0].state) for n, (p, t) in enumerate(zip(told, truth, strict=True))
        ]
    return rows


def rates(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Contradictions, strangers and sentences not understood, per 1,000 words, by kind of story."""
    found: dict[str, dict[str, Any]] = {}
    for kind in dict.fromkeys(row["kind"] for row in rows):
        mine = [row for row in rows if row["kind"] == kind]
        words = sum(row["words"] for row in mine)
        found[kind] = {
            **interval(per(mine, "words", 1000)),
            "words": words,
            "of_checked": interval(per(mine, "checked", 1)),
            "checked": 1000 * sum(row["checked"] for row in mine) / words,
            "strangers": 1000 * sum(row["strangers"] for row in mine) / words,
            "unread": 1000 * sum(row["unread"] for row in mine) / words,
            "distinct_sentences": float(np.mean([distinct(row["passages"]) for row in mine])),
        }
    return found


def per(rows: Sequence[dict[str, Any]], unit: str, many: int) -> Estimate:
    """Contradictions in so many words or `checked` sentences; the interval takes a story of the world as one draw."""
    bad, size = (np.asarray([row[name] for row in rows], dtype=float) for name in ("contradictions", unit))
    return bootstrap(
        lambda w: many * float(w @ bad) / max(1.0, float(w @ size)),
        len(rows),
        clusters=[row["story"] for row in rows],
    )


def ratios(rows: Sequence[dict[str, Any]], seed: int) -> dict[str, dict[str, Any]]:
    """How many times more contradictions a kind has than the panel's stories, one more on each side.

    `value` and its interval are a word; those of `of_checked` are a sentence that could have been one.
    """
    base = [row for row in rows if row["kind"] == "panel"]
    found = {}
    for kind in dict.fromkeys(row["kind"] for row in rows if row["kind"].startswith("text")):
        both = [*base, *(row for row in rows if row["kind"] == kind)]
        mine = np.asarray([row["kind"] == kind for row in both])
        bad, words, checked = (
            np.asarray([row[name] for row in both], dtype=float)
            for name in ("contradictions", "words", "checked")
        )

        def ratio(w: Any, size: Any, mine: Any = mine, bad: Any = bad) -> float:
            # One more on each side, so that a story without a fault has a ratio too.
            rate = [(1 + float(w[m] @ bad[m])) / max(1.0, float(w[m] @ size[m])) for m in (mine, ~mine)]
            return rate[0] / rate[1]

        stories = [row["story"] for row in both]
        a_word, a_sentence = (
            bootstrap(partial(ratio, size=size), len(both), clusters=stories, seed=seed)
            for size in (words, checked)
        )
        found[kind] = {**interval(a_word), "of_checked": interval(a_sentence)}
    return found


def exponents(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """DFA exponents of the stories' words by kind."""
    found = {}
    for kind in dict.fromkeys(row["kind"] for row in rows):
        values = [
            e.value
            for row in rows
            if row["kind"] == kind and (e := of_text(words_of(row["passages"]))).value is not None
        ]
        found[kind] = interval(mean_interval(values))
    return found


def words_of(passages: Sequence[str]) -> list[str]:
    """Words in lower case, without stops; of Chinese, characters."""
    return book.word_list(" ".join(passages).lower())


def distinct(passages: Sequence[str]) -> float:
    """The share of passages that are unlike all others of their story."""
    return len(set(passages)) / len(passages)


def summary_of(prompts: Sequence[dict[str, list[float]]], kind: str) -> dict[str, float]:
    """How long the prompts of a kind were in the first and the last tenth of the stories, and at most."""
    values = np.asarray([row[kind] for row in prompts])
    tenth = max(1, values.shape[1] // 10)
    first, last = values[:, :tenth].mean(), values[:, -tenth:].mean()
    return {"first": float(first), "last": float(last), "most": float(values.max())}


def interval(e: Estimate) -> dict[str, Any]:
    """An estimate as it is written to files."""
    return {"value": e.value, "low": e.low, "high": e.high, "n": e.n}


def diversity(
    config: PanelStoriesConfig, author: Author, truth: Sequence[Sequence[saga.Passage]], number: int
) -> list[dict[str, Any]]:
    """For each temperature, on the plan alone and on the prose alone: how unlike the passages, how true to the plan."""
    panels = [t[min(1 + n % max(1, len(t) - 1), len(t) - 1)].before for n, t in enumerate(truth)]
    panels = [panels[i % len(panels)] for i in range(config.curve_panels)]
    rows: list[dict[str, Any]] = []
    for temperature in config.curve_temperatures if panels else ():
        for where, heat in (("plan", Heat(temperature, 0)), ("prose", Heat(0, temperature))):
            unlike, faithful = [], []
            for turn in range(config.curve_samples):
                desks = [desk.begin("-", p.without("plan")) for p in panels]
                seed = (config.seed, "curve", number, where, temperature, turn)
                (now,) = from_panels(author, desks, 1, heat, seed=seed, panel_tokens=config.panel_tokens)
                told = [told_lines(config.lang, d.turn.passage) for d in now]
                unlike.append(told)
                faithful += [overlap(t, d.turn.before.plan) for t, d in zip(told, now, strict=True)]
            pairs = [
                1 - overlap(unlike[a][i], unlike[b][i])
                for a in range(config.curve_samples)
                for b in range(a)
                for i in range(len(panels))
            ]
            rows.append(
                {
                    "where": where,
                    "temperature": temperature,
                    "diversity": float(np.mean(pairs)),
                    "faithfulness": float(np.mean(faithful)),
                }
            )
    return rows


def told_lines(lang: Lang, passage: str) -> tuple[str, ...]:
    """What a passage tells, as lines of a plan; the refrain and what is not understood are left out."""
    events = [e for e in saga_judge.read(lang, passage) if e is not None and e.kind not in ("came", "shut")]
    return tuple(saga.line(lang, e) for e in events)


def overlap(a: Sequence[str], b: Sequence[str]) -> float:
    """F1 of two sets of lines; two empty ones are alike."""
    both = len(set(a) & set(b))
    return 2 * both / (len(set(a)) + len(set(b))) if a or b else 1.0


def averaged(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The curve's points averaged over the models."""
    points = dict.fromkeys((row["where"], row["temperature"]) for row in rows)
    return [
        {
            "where": where,
            "temperature": t,
            **{
                name: interval(
                    mean_interval([r[name] for r in rows if (r["where"], r["temperature"]) == (where, t)])
                )
                for name in ("diversity", "faithfulness")
            },
        }
        for where, t in points
    ]
