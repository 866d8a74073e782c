"""A book -> steps: each passage with the panel before it and the panel after it, read by a model."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from heedful.data import atomic, files
from heedful.data.formats import read_texts
from heedful.engine import terminal
from heedful.engine.panel_author import Author, open_author
from heedful.engine.stage import Inputs, Stage, StageConfig
from heedful.errors import UserError
from heedful.panels import book, budget, consistency, grammar, requests, rule, score
from heedful.panels.desk import Ask
from heedful.panels.exchange import Step, step_of, step_row
from heedful.panels.panel import Panel
from heedful.types import Lang

RULE = "rule"


class PanelExtractConfig(StageConfig):
    """`data` is a book (texts), or a file of steps whose own panels are then taken as the truth to compare with.

    `model` reads it, in this process or behind `server`; `model=rule` reads names and rare words without a model.
    `price_in` and `price_out` are per million tokens, as the server counts them or, if it does not, three bytes each.
    """

    model: str
    data: Path
    server: str = ""
    lang: Lang = "en"
    explained: bool = False
    characters: int = Field(600, gt=0)
    max_passages: int | None = Field(None, gt=0)
    panel_tokens: int = Field(256, gt=0)
    max_completion_length: int = Field(160, gt=0)
    retries: int = Field(2, ge=0)
    temperature: float = Field(0.0, ge=0)
    slots: int = Field(32, gt=0)
    price_in: float = Field(0.0, ge=0)
    price_out: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _names(self) -> Self:
        if self.model == RULE and self.lang != "en":
            raise ValueError(
                "model=rule reads names by their capitals, which Chinese has not: name a model to read it"
            )
        return self


@dataclass(frozen=True, slots=True)
class Read:
    """A passage as read: the panel after it, the lines that were no lines of a panel, how many tries it took."""

    after: Panel
    bad: tuple[str, ...]
    tries: int
    parsed: bool
    dropped: int


def main(config: PanelExtractConfig) -> dict[str, Any]:
    """Write steps.jsonl to `output`; a run that was stopped goes on after the last passage that was read."""
    of_disk = not config.server and config.model != RULE
    inputs: Inputs = {"data": config.data, "model": config.model if of_disk else None}
    stage = Stage("panel_extract", config, inputs)
    if (done := stage.finished()) is not None:
        return done
    told, truth = stories(config)
    if config.model == RULE:
        stage.begin()
        steps = by_rule(config, told)
        return ended(stage, config, steps, truth, {})
    author = open_author(config.model, config.server, explained=config.explained or None)
    stage.begin()
    journal = stage.folder / "read.jsonl"
    run = hashlib.sha256(json.dumps(stage.identity, sort_keys=True).encode()).hexdigest()
    known = resumed(journal, run)
    with terminal.progress("extract", sum(map(len, told.values()))) as advance:
        for rows in waves(config, author, told, known):
            append(journal, rows, run)
            known |= {(r["story"], r["index"]): r for r in rows}
            advance(len(known), f"{author.spent['completion_tokens']:,} tokens written")
    result = ended(stage, config, finished(config, told, known), truth, known)
    journal.unlink(missing_ok=True)
    return result


def ended(
    stage: Stage,
    config: PanelExtractConfig,
    steps: list[Step],
    truth: dict[tuple[str, int], Step],
    known: dict[tuple[str, int], dict[str, Any]],
) -> dict[str, Any]:
    """Write the steps, and count what reading them took."""
    files.write_jsonl(stage.folder / "steps.jsonl", map(step_row, steps))
    counts = Counter(name for r in known.values() for name in ("bad", "dropped") for _ in range(r[name]))
    spent = Counter[str]()
    for r in known.values():
        spent.update(r["spent"])
    cost = (spent["prompt_tokens"] * config.price_in + spent["completion_tokens"] * config.price_out) / 1e6
    return stage.finish(
        passages=len(steps),
        unparsed=sum(not r["parsed"] for r in known.values()),
        bad_lines=counts["bad"],
        dropped_lines=counts["dropped"],
        retries=sum(r["tries"] - 1 for r in known.values()),
        contradicting=sum(bool(consistency.contradictions(s.after)) for s in steps),
        cost=cost,
        **spent,
        scores=scores(steps, truth),
    )


def by_rule(config: PanelExtractConfig, told: dict[str, list[str]]) -> list[Step]:
    """Steps read without a model."""
    common = rule.common_words(passage for rows in told.values() for passage in rows)
    known: dict[tuple[str, int], dict[str, Any]] = {}
    for story, rows in told.items():
        panel = Panel(lang=config.lang)
        for index, passage in enumerate(rows):
            panel = rule.read(panel, passage, common)
            known[story, index] = {"panel": panel}
    return [replace(step, source="rule", model="") for step in finished(config, told, known)]


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    parts = [f"{result['passages']} passages", f"{result['unparsed']} never parsed"]
    if result["scores"]:
        parts.append(f"F1 {result['scores']['all']['f1']:.3f} against the truth")
    if result["cost"]:
        parts.append(f"cost {result['cost']:.4f}")
    return ", ".join(parts)


def stories(config: PanelExtractConfig) -> tuple[dict[str, list[str]], dict[tuple[str, int], Step]]:
    """The passages of each story, and the true steps where the file has them."""
    first = next(iter(files.read_rows(config.data)))
    if {"passage", "before", "after"} <= first.data.keys():
        steps = [step_of(row.data, row.where) for row in files.read_rows(config.data)]
        told: dict[str, list[str]] = {}
        for step in sorted(steps, key=lambda s: s.index):
            told.setdefault(step.story, []).append(step.passage)
        return cut(told, config.max_passages), {(s.story, s.index): s for s in steps}
    texts = read_texts(config.data)
    found = {str(n): book.split(text, config.characters) for n, text in enumerate(texts)}
    return cut(found, config.max_passages), {}


def cut(told: dict[str, list[str]], most: int | None) -> dict[str, list[str]]:
    """At most so many passages of each story."""
    return {name: rows[:most] for name, rows in told.items() if rows}


def waves(
    config: PanelExtractConfig,
    author: Author,
    told: dict[str, list[str]],
    known: dict[tuple[str, int], dict[str, Any]],
) -> Iterator[list[dict[str, Any]]]:
    """The next passages of all stories together, `slots` at a time: a story's panel has to wait for the one before."""
    for index in range(max(map(len, told.values()))):
        waiting = [s for s, rows in told.items() if index < len(rows) and (s, index) not in known]
        for start in range(0, len(waiting), config.slots):
            names = waiting[start : start + config.slots]
            before = []
            for name in names:
                earlier = known.get((name, index - 1))
                before.append(earlier["panel"] if earlier else Panel(lang=config.lang))
            spent = Counter(author.spent)
            read = read_passages(config, author, before, [told[n][index] for n in names], index)
            share = {k: v / len(names) for k, v in (author.spent - spent).items()}
            yield [
                {
                    "story": name,
                    "index": index,
                    "panel": found.after,
                    "bad": len(found.bad),
                    "dropped": found.dropped,
                    "tries": found.tries,
                    "parsed": found.parsed,
                    "spent": share,
                }
                for name, found in zip(names, read, strict=True)
            ]


def read_passages(
    config: PanelExtractConfig, author: Author, before: Sequence[Panel], passages: Sequence[str], index: int
) -> list[Read]:
    """Ask what each passage changed; an answer with lines that are none of a panel is asked for again.

    After the last try the lines that could be read count; if none could, the panel stays and the passage is kept.
    """
    shown = [budget.fit(p.without("plan"), author.length, config.panel_tokens) for p in before]
    found: dict[int, Read] = {}
    for turn in range(config.retries + 1):
        open_ = [i for i in range(len(passages)) if i not in found or found[i].bad]
        if not open_:
            break
        asks = [
            Ask(
                "update",
                requests.update(shown[i][0], passages[i], explained=author.explained),
                grammar.patch(config.lang),
            )
            for i in open_
        ]
        texts = author.answer(
            asks,
            temperature=config.temperature if turn == 0 else max(0.5, config.temperature),
            max_completion_length=config.max_completion_length,
            seed=(config.seed, "extract", index, turn),
        )
        for i, (text, *_) in zip(open_, texts, strict=True):
            after, bad = requests.updated(before[i], text)
            parsed = not bad or after != before[i].without("plan")
            if i not in found or len(bad) < len(found[i].bad) or not found[i].parsed:
                found[i] = Read(after, tuple(bad), turn + 1, parsed, len(shown[i][1]))
            else:
                found[i] = replace(found[i], tries=turn + 1)
    return [found[i] for i in range(len(passages))]


def finished(
    config: PanelExtractConfig, told: dict[str, list[str]], known: dict[tuple[str, int], dict[str, Any]]
) -> list[Step]:
    """Steps in order. What a passage turned out to tell is taken as the plan that it was written to."""
    found = []
    for story, rows in told.items():
        before = Panel(lang=config.lang)
        for index, passage in enumerate(rows):
            after: Panel = known[story, index]["panel"]
            planned = before.with_field("plan", after.short_memory) if index else before
            found.append(Step(story, index, passage, planned, after, source="model", model=config.model))
            before = after
    nexts = found[1:]
    return [
        replace(s, after=s.after.with_field("plan", n.before.plan)) if n.story == s.story else s
        for s, n in zip(found, [*nexts, found[-1]], strict=True)
    ]


def scores(steps: Sequence[Step], truth: dict[tuple[str, int], Step]) -> dict[str, dict[str, Any]]:
    """Precision, recall and F1 of the panels after, a field at a time, where the truth is known.

    The plan is left out: a reader cannot know what comes next.
    """
    if not truth:
        return {}
    rows = [
        score.compare(s.after.without("plan"), truth[s.story, s.index].after.without("plan")) for s in steps
    ]
    hits = score.total(rows)
    shown = {str(field): h for field, h in hits.items() if h.f1 is not None} | {"all": score.overall(hits)}
    return {
        name: {"precision": h.precision, "recall": h.recall, "f1": h.f1, "n": h.true}
        for name, h in shown.items()
    }


def append(journal: Path, rows: Sequence[dict[str, Any]], run: str) -> None:
    """Add what was read to the journal, and make sure that it is on the disk."""
    written = [
        {**r, "panel": step_row(Step("", 0, "-", r["panel"], r["panel"]))["after"], "run": run} for r in rows
    ]
    atomic.append_lines(journal, [json.dumps(r, ensure_ascii=False) for r in written])


def resumed(journal: Path, run: str) -> dict[tuple[str, int], dict[str, Any]]:
    """What an earlier run of the same stage has read; a last line that was cut short does not count."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    if not journal.is_file():
        return found
    for raw in journal.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(raw)
            if row.pop("run") == run:
                row["panel"] = step_of(
                    {"story": "", "index": 0, "passage": "-", "before": {}, "after": row["panel"]}
                ).after
                found[row["story"], row["index"]] = row
        except (ValueError, KeyError, UserError):
            continue
    return found
