"""Write a long text step by step in the terminal: panel beside text, plans to choose from, nothing ever lost."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from rich.columns import Columns
from rich.console import Console
from rich.panel import Panel as Box
from rich.text import Text

from heedful.data import atomic, files, formats
from heedful.engine import plan_choice
from heedful.engine.panel_author import Author, frame_length, open_author
from heedful.engine.panel_prose import held
from heedful.engine.panel_story import held_update, unlike
from heedful.engine.stage import Stage, StageConfig
from heedful.errors import UserError
from heedful.panels import book, budget, consistency, desk, exchange, text
from heedful.panels.desk import Ask, Desk
from heedful.panels.panel import Panel, clean, known_field
from heedful.types import Lang

HELP = (
    "number: take that plan   text: your own plan, lines parted by ';'   n: other plans   e FIELD: edit a field   "
    "l FIELD: lock or unlock it   b: back   g N: go to step N   q: save and leave"
)


class WriteConfig(StageConfig):
    """`model` writes, in this process or behind `server`. One begins from `premise`, `outline`, `text` or `panel`.

    `outline` has one future event a line, `text` is read into a panel first, `panel` is JSON. `consent` keeps choices
    as judgements. `choose` says who takes one of the `plans`: `person`, or with nothing asked `first`, `rule` (least
    against the panel), `reward:MODEL` or another judge, for so many `steps`. With several `drafts` a passage is held to
    its panel and an update to its passage, by rule: what disagrees is drawn again, then left out or put right. With
    a closed `cast` plans and updates are about nobody but whom the panel has; a line of a plan that begins with
    "introduce" (引入) brings somebody in.
    """

    model: str
    server: str = ""
    title: str = "Untitled"
    premise: str = ""
    outline: Path | None = None
    text: Path | None = None
    panel: Path | None = None
    lang: Lang = "en"
    condition: str = ""
    consent: bool = False
    choose: str = plan_choice.PERSON
    steps: int = Field(0, ge=0)
    plans: int = Field(3, ge=1, le=9)
    drafts: int = Field(1, ge=1, le=64)
    cast: Literal["open", "closed"] = "open"
    plan_temperature: float = Field(1.0, ge=0)
    prose_temperature: float = Field(0.0, ge=0)
    panel_tokens: int = Field(256, gt=0)
    max_completion_length: int = Field(160, gt=0)

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.choose != plan_choice.PERSON and not self.steps:
            raise ValueError(f"choose={self.choose} asks nobody when to stop: say how many steps to write")
        return self


@dataclass(frozen=True)
class Decision:
    """What the person did: the desk as it is now, and whether its plan is to be written."""

    story: Desk
    write: bool = False


@dataclass(frozen=True)
class Terminal:
    """How a session talks to the person: a question gives a line, something is shown, a text grows piece by piece."""

    ask: Callable[[str], str]
    show: Callable[[Any], None]
    write: Callable[[str], None]


def main(config: WriteConfig) -> dict[str, Any]:
    """Write on, and save story.json after every step; at the end story.md, story.epub and steps.jsonl too."""
    stage = Stage("write", config, {})
    author = open_author(config.model, config.server)
    console = Console(highlight=False)
    terminal = Terminal(
        lambda question: console.input(Text(question)),
        console.print,
        lambda piece: console.print(Text(piece), end="", soft_wrap=True),
    )
    story = begun(config, author, stage.folder / "story.json")
    story, lengths = session(config, author, story, terminal, lambda now: save(stage.folder, now))
    export(stage.folder, story, config.model)
    told, turns = desk.passages(story), desk.path(story)
    return {
        "passages": len(told),
        "words": sum(map(book.words, told)),
        "unread": sum(bool(t.note) for t in turns),
        "contradicting": sum(bool(consistency.contradictions(t.after)) for t in turns),
        "most_prompt_tokens": max(lengths, default=0),
        "judgements": len(desk.judgements(story)),
        "seconds": 0.0,
    }


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    return (
        f"{result['passages']} passages, {result['words']} words, prompts of at most "
        f"{result['most_prompt_tokens']} tokens, {result['judgements']} judgements, "
        f"{result['unread']} updates with lines that could not be read, "
        f"{result['contradicting']} panels that contradict themselves"
    )


def begun(config: WriteConfig, author: Author, saved: Path) -> Desk:
    """The story that lies there, or a new one from what the settings give."""
    if config.resume and saved.is_file():
        return desk.from_json(loaded(saved), str(saved))
    panel = Panel(lang=config.lang)
    if config.panel is not None:
        panel = exchange.from_json(loaded(config.panel), str(config.panel))
    if config.premise:
        panel = panel.with_field("goals", (*panel.goals, clean(config.premise)))
    if config.outline is not None:
        lines = tuple(
            clean(t) for row in formats.read_texts(config.outline) for t in row.split("\n") if clean(t)
        )
        panel = panel.with_field("future", lines)
    story = desk.begin(config.title, panel, consent=config.consent, condition=config.condition)
    if config.text is not None:
        for passage in book.split("\n\n".join(formats.read_texts(config.text))):
            story = taken_in(config, author, story, passage)
    if story.panel == Panel(lang=config.lang):
        raise UserError(
            "there is nothing to begin from: give premise=..., outline=FILE, text=FILE or panel=FILE"
        )
    return story


def loaded(path: Path) -> Any:
    """The JSON of a file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from None


def session(
    config: WriteConfig, author: Author, story: Desk, terminal: Terminal, saved: Callable[[Desk], None]
) -> tuple[Desk, list[int]]:
    """Plan, write, update, until the person leaves or `steps` are done; also how many tokens each prompt had."""
    lengths: list[int] = []
    done = 0
    by_itself = None
    if config.choose != plan_choice.PERSON:
        by_itself = plan_choice.find(config.choose, model=config.model)
    while not config.steps or done < config.steps:
        if by_itself is None:
            terminal.show(page(story, remarks(config, author, story)))
        candidates = planned(config, author, story, lengths)
        if by_itself is None:
            decision = decided(story, candidates, terminal)
        else:
            if not candidates:
                raise UserError(
                    "the model gave no plan that can be read: choose another model, or write with a person"
                )
            (plan,) = by_itself([story], [candidates])
            decision = Decision(desk.choose(story, plan), True)
        if decision is None:
            break
        if decision.write:
            known = remarks(config, author, story)
            try:
                watched = terminal if by_itself is None else None
                written = passage(config, author, decision.story, lengths, watched)
                story = taken_in(config, author, decision.story, written, lengths)
                done += 1
            except UserError as error:
                if by_itself is not None:
                    raise
                terminal.show(Text(str(error)))
            if by_itself is not None:
                for why in remarks(config, author, story):
                    if why not in known:
                        terminal.show(Text(f"step {story.at}: {why}"))
        else:
            story = decision.story
        saved(story)
    return story, lengths


def remarks(config: WriteConfig, author: Author, story: Desk) -> list[str]:
    """What is to be said of a story as it stands: lines that were not read or are not shown, and contradictions."""
    panel = story.panel
    unseen = budget.said(budget.fit(panel, author.length, config.panel_tokens)[1], panel.lang)
    return [*filter(None, (story.turn.note, unseen)), *desk.warnings(story)]


def planned(config: WriteConfig, author: Author, story: Desk, lengths: list[int]) -> list[tuple[str, ...]]:
    """Candidate plans: the panel's own first, if it has one."""
    closed = config.cast == "closed"
    ask = desk.ask_plan(story, config.plans, closed=closed, **asking(config, author))
    found = desk.plans(story, asked(config, author, story, ask, config.plan_temperature, lengths))
    return list(dict.fromkeys(([story.panel.plan] if story.panel.plan else []) + found))


def passage(
    config: WriteConfig, author: Author, story: Desk, lengths: list[int], terminal: Terminal | None
) -> str:
    """The passage that the plan tells; a single draft appears at the terminal as it is written."""
    ask = desk.ask_write(story, **asking(config, author))
    how: dict[str, Any] = {
        "temperature": config.prose_temperature,
        "max_completion_length": config.max_completion_length,
        "seed": noted(config, author, story, ask, lengths),
    }
    if terminal is None or config.drafts > 1:
        (text,) = held(author, [ask], [story.panel], drafts=config.drafts, **how)
        return text
    told = ""
    for piece in author.pieces(ask, **how):
        terminal.write(piece)
        told += piece
    terminal.write("\n\n")
    return told


def taken_in(
    config: WriteConfig, author: Author, story: Desk, written: str, lengths: list[int] | None = None
) -> Desk:
    """The story with a passage, and with what the model says that it changed."""
    closed = config.cast == "closed"
    ask = desk.ask_update(story, written, closed=closed, **asking(config, author))
    (patch,) = author.kept(
        [ask],
        partial(unlike, [story], [written]),
        drafts=config.drafts,
        temperature=0.0,
        max_completion_length=config.max_completion_length,
        seed=noted(config, author, story, ask, lengths),
    )
    return desk.written(story, written, held_update(story, written, patch) if config.drafts > 1 else patch)


def asking(config: WriteConfig, author: Author) -> dict[str, Any]:
    """How every request is put."""
    return {"fit": author.fit(config.panel_tokens), "explained": author.explained}


def asked(
    config: WriteConfig, author: Author, story: Desk, ask: Ask, temperature: float, lengths: list[int]
) -> tuple[str, ...]:
    """All the answers that a request asks for."""
    seed = noted(config, author, story, ask, lengths)
    limit = config.max_completion_length
    (texts,) = author.answer([ask], temperature=temperature, max_completion_length=limit, seed=seed)
    return texts


def noted(
    config: WriteConfig, author: Author, story: Desk, ask: Ask, lengths: list[int] | None
) -> tuple[Any, ...]:
    """The seed of a request, whose length is noted: the number of steps so far, so that a branch is another draw."""
    if lengths is not None:
        lengths.append(frame_length(author, ask))
    return (config.seed, "write", len(story.turns), ask.kind)


def decided(story: Desk, candidates: list[tuple[str, ...]], terminal: Terminal) -> Decision | None:
    """What the person does next: the desk with a plan chosen, or edited, or elsewhere; None to leave."""
    for number, plan in enumerate(candidates, 1):
        terminal.show(Text(f"{number}  {'; '.join(plan)}"))
    try:
        said = terminal.ask("plan> ").strip()
    except (EOFError, KeyboardInterrupt):
        return None
    word, _, rest = said.partition(" ")
    try:
        if word == "q":
            return None
        if word == "?":
            terminal.show(Text(HELP))
        moves: dict[str, Callable[[], Desk]] = {
            "": lambda: story,
            "n": lambda: story,
            "?": lambda: story,
            "b": lambda: desk.back(story),
            "g": lambda: desk.go(story, int(rest) if rest.isdigit() else -1),
            "l": lambda: desk.lock(story, rest, rest not in story.locked),
            "e": lambda: edited(story, rest, terminal),
        }
        if word in moves:
            return Decision(moves[word]())
        if said.isdigit():
            if not 1 <= int(said) <= len(candidates):
                raise UserError(f"there are plans 1 to {len(candidates)}")
            return Decision(desk.choose(story, candidates[int(said) - 1], candidates), True)
        return Decision(desk.choose(story, said.split(";"), candidates), True)
    except UserError as error:
        terminal.show(Text(str(error)))
        return Decision(story)


def edited(story: Desk, name: str, terminal: Terminal) -> Desk:
    """Ask for all lines of a field anew; an entry is written NAME: STATE."""
    field = known_field(name)
    word = text.WORDS[story.panel.lang]
    terminal.show(Text("\n".join(text.lines(story.panel, field))))
    lines = []
    while said := clean(terminal.ask(f"{field} (empty line ends)> ")):
        lines.append(f"{word.field[field]}{word.after_field}{said}")
    fresh = text.parse("\n".join(lines), story.panel.lang)
    return desk.edit(story, story.panel.with_field(field, getattr(fresh, field)))


def page(story: Desk, said: Sequence[str]) -> Any:
    """Panel beside text, and the remarks on both."""
    told = "\n\n".join(desk.passages(story)[-3:]) or "(nothing is written yet)"
    marks = "".join(f"\n! {why}" for why in said)
    locked = f"locked: {', '.join(story.locked)}" if story.locked else None
    return Columns(
        [
            Box(Text(text.render(story.panel)), title=f"panel, step {story.at}", subtitle=locked, width=44),
            Box(Text(told + marks), title=Text(story.title), width=72),
        ]
    )


def save(folder: Path, story: Desk) -> None:
    """The whole desk as story.json."""
    atomic.write_json(folder / "story.json", desk.to_json(story))


def export(folder: Path, story: Desk, model: str) -> None:
    """The story in every form; `model` wrote it."""
    save(folder, story)
    atomic.write_text(folder / "story.md", book.markdown(story))
    atomic.write_bytes(folder / "story.epub", book.epub(story.title, desk.passages(story), story.panel.lang))
    files.write_jsonl(folder / "steps.jsonl", map(exchange.step_row, book.steps(story, story.title, model)))
    found = desk.judgements(story)
    if found:
        formats.write_preferences(folder / "judgements.jsonl", found)
