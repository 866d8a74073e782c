"""The writer's desk: panel beside text, plans to choose from, and a story that branches and never loses a step."""

import json
import os
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import httpx
from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import Field

from heedful.data.store.stories import Kept, Stories
from heedful.errors import UserError
from heedful.panels import book, budget, consistency, desk, requests, text
from heedful.panels.panel import FIELDS, Panel, clean, known_field
from heedful.web import keeping
from heedful.web.author import Author
from heedful.web.entry import Body
from heedful.web.pages import page
from heedful.web.session import Annotator, Problem, Visitor
from heedful.web.studio import Link

router = APIRouter()
LINKS = (Link("/desk", "desk_title"),)

PANEL_CHARACTERS = 6000
"""How long the panel in a request may be, and a passage to be read: requests stay short, however long the story."""

Key = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Line = Annotated[str, Field(max_length=2000)]
Lines = Annotated[list[Line], Field(max_length=100)]
Word = Annotated[str, Field(max_length=20)]
Heat = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]


class Beginning(Body):
    title: Annotated[str, Field(max_length=200)] = ""
    premise: Line = ""
    outline: Lines = Field(default_factory=list)
    panel: Lines = Field(default_factory=list)
    text: Annotated[str, Field(max_length=100_000)] = ""
    lang: Literal["en", "zh"] = "en"
    consent: bool = False
    explained: bool = True


class Story(Body):
    story: Key


class Planning(Story):
    temperature: Heat = 1.0
    choose: Literal["person", "first", "rule", "reward", "judge"] = "person"


class Writing(Story):
    plan: Lines
    others: Annotated[list[Lines], Field(max_length=9)] = Field(default_factory=list)
    temperature: Heat = 0.0


class Editing(Story):
    field: Word
    lines: Lines


class Locking(Story):
    field: Word
    locked: bool


class Going(Story):
    turn: Annotated[int, Field(ge=0, lt=2**31)]


class Agreeing(Story):
    consent: bool


@router.get("/desk", include_in_schema=False)
def show(visitor: Annotator, story: str = "") -> Response:
    """The desk with a story on it, or all stories and a form for a new one."""
    stories = Stories(visitor.studio.store)
    kept = stories.find(visitor.name, story) if story else None
    if story and kept is None:
        raise Problem(404, "missing")
    data = {"state": state(kept, _desk(kept))} if kept else None
    return page(
        visitor,
        "desk.jinja",
        title="desk_title",
        script="desk.js",
        data=data,
        kept=kept,
        stories=stories.of(visitor.name),
        model=bool(visitor.studio.settings.model),
    )


@router.post("/api/desk/begin")
def begin(visitor: Annotator, body: Beginning) -> Response:
    """A new story from a premise, an outline, a panel or a text; a text is read passage by passage."""
    panel = text.parse("\n".join(body.panel), body.lang)
    if clean(body.premise):
        panel = panel.with_field("goals", (*panel.goals, clean(body.premise)))
    panel = panel.with_field("future", (*panel.future, *filter(None, map(clean, body.outline))))
    made = desk.begin(body.title, panel, consent=body.consent)
    if passages := book.split(body.text):
        made = _read(_author(visitor), made, passages, explained=body.explained)
    if made.panel == Panel(lang=body.lang):
        raise Problem(422, "desk_empty")
    content = desk.to_json(made) | {"explained": body.explained}
    name = Stories(visitor.studio.store).add(visitor.name, made.title, content)
    return JSONResponse({"story": name, "to": f"/desk?story={name}"})


def _read(author: Author, made: desk.Desk, passages: list[str], *, explained: bool) -> desk.Desk:
    if any(len(passage) > PANEL_CHARACTERS for passage in passages):
        raise Problem(422, "desk_sentence")
    for passage in passages:
        ask = desk.ask_update(made, passage, fit=_fit, explained=explained)
        made = desk.written(made, passage, _answers(author, ask, 0.0)[0])
    return made


@router.post("/api/desk/plans")
def plans(visitor: Annotator, body: Planning) -> Response:
    """Candidate plans for the next passage; `chosen` is the one that `choose` takes, null where that is a person."""
    kept = _kept(visitor, body.story)
    now, author = _desk(kept), _author(visitor)
    ask = desk.ask_plan(now, fit=_fit, explained=_explained(kept))
    found = desk.plans(now, _answers(author, ask, body.temperature))
    chosen = _chosen(author, now, found, body.choose) if found and body.choose != "person" else None
    return JSONResponse({"plans": found, "chosen": chosen, "held": author.held})


def _chosen(author: Author, now: desk.Desk, found: list[tuple[str, ...]], choose: str) -> int:
    if choose == "first" or len(found) == 1:
        return 0
    if choose == "rule":
        return consistency.agreeing(now.panel, found)
    shown = _fit(now.panel.without("plan"))
    if choose == "judge":
        answer = "".join(_answers(author, desk.Ask("plan", requests.best(shown, found)), 0.0)[:1])
        return requests.number_in(answer, len(found)) - 1
    texts = [requests.plan_of(shown.with_field("plan", plan)) for plan in found]
    try:
        return author.best(requests.plan(shown, now.condition), texts)
    except httpx.HTTPError:
        raise Problem(502, "desk_model") from None


@router.post("/api/desk/write")
def write(visitor: Annotator, body: Writing) -> Response:
    """Take a plan and stream its passage as lines of JSON: pieces, then the new state, or what went wrong."""
    kept = _kept(visitor, body.story)
    chosen = desk.choose(_desk(kept), body.plan, body.others)
    how: dict[str, Any] = {"fit": _fit, "explained": _explained(kept)}
    ask_passage = desk.ask_write(chosen, **how)
    author = _author(visitor)

    def lines() -> Iterator[str]:
        try:
            told = ""
            for piece in author.pieces(ask_passage, temperature=body.temperature):
                told += piece
                yield _line({"piece": piece})
            yield _line({"reading": True})
            ask = desk.ask_update(chosen, told, **how)
            after = desk.written(chosen, told, author.answers(ask, temperature=0)[0])
            yield _line({"state": _save(visitor, kept, after), "held": author.held})
        except (UserError, Problem, httpx.HTTPError) as error:
            code = error.code if isinstance(error, Problem) else "desk_model"
            said = str(error) if isinstance(error, UserError) else visitor.words(f"problem_{code}")
            yield _line({"error": said})

    return StreamingResponse(lines(), media_type="application/x-ndjson")


@router.post("/api/desk/edit")
def edit(visitor: Annotator, body: Editing) -> Response:
    """Put a person's lines in the place of one field's; an entry is written NAME: STATE."""
    field = known_field(body.field)

    def change(now: desk.Desk) -> desk.Desk:
        words = text.WORDS[now.panel.lang]
        spelled = "\n".join(words.field[field] + words.after_field + clean(t) for t in body.lines if clean(t))
        fresh = text.parse(spelled, now.panel.lang)
        return desk.edit(now, now.panel.with_field(field, getattr(fresh, field)))

    return _changed(visitor, body.story, change)


@router.post("/api/desk/lock")
def lock(visitor: Annotator, body: Locking) -> Response:
    """Keep a field from being changed by the model, or let it go."""
    return _changed(visitor, body.story, lambda now: desk.lock(now, body.field, body.locked))


@router.post("/api/desk/go")
def go(visitor: Annotator, body: Going) -> Response:
    """Stand on any step; what is written next branches off there."""
    return _changed(visitor, body.story, lambda now: desk.go(now, body.turn))


@router.post("/api/desk/consent")
def consent(visitor: Annotator, body: Agreeing) -> Response:
    """Whether choices and edits from now on are kept as judgements."""
    return _changed(visitor, body.story, lambda now: desk.agreed(now, body.consent))


@router.get("/api/desk/export/{form}")
def export(visitor: Annotator, form: Literal["md", "epub", "json"], story: Key) -> Response:
    """The story as a file."""
    kept = _kept(visitor, story)
    now = _desk(kept)
    if form == "md":
        content, kind = book.markdown(now).encode("utf-8", "replace"), "text/markdown; charset=utf-8"
    elif form == "epub":
        content = book.epub(now.title, desk.passages(now), now.panel.lang)
        kind = "application/epub+zip"
    else:
        content, kind = (
            json.dumps(kept.content, ensure_ascii=False, indent=1).encode("utf-8", "replace"),
            "application/json",
        )
    headers = {"content-disposition": f'attachment; filename="story.{form}"'}
    return Response(content, media_type=kind, headers=headers)


def state(kept: Kept, now: desk.Desk) -> dict[str, Any]:
    """What the page is told: the story as it reads, its other branches, the panel by field, what speaks against it."""
    here = desk.path(now)
    own = {turn.number for turn in here}
    return {
        "story": kept.id,
        "title": now.title,
        "at": now.at,
        "lang": now.panel.lang,
        "consent": now.consent,
        "locked": list(now.locked),
        "turns": [_turn(turn) for turn in here],
        "elsewhere": [_turn(turn) for turn in now.turns if turn.number not in own],
        "fields": {field: _lines(now.panel, field) for field in FIELDS},
        "warnings": consistency.contradictions(now.panel),
        "words": sum(map(book.words, desk.passages(now))),
        "dropped": budget.said(budget.fit(now.panel, len, PANEL_CHARACTERS)[1], now.panel.lang),
    }


def _turn(turn: desk.Turn) -> dict[str, Any]:
    found = consistency.marks(turn.before, turn.passage)
    marks = [{"start": m.start, "end": m.end, "why": m.why} for m in found]
    return {
        "number": turn.number,
        "passage": turn.passage,
        "note": turn.note,
        "marks": marks,
        "plan": turn.before.plan,
    }


def _lines(panel: Panel, field: Any) -> list[str]:
    start = text.WORDS[panel.lang].field[field] + text.WORDS[panel.lang].after_field
    return [line.removeprefix(start) for line in text.lines(panel, field)]


def _kept(visitor: Visitor, story: str) -> Kept:
    found = Stories(visitor.studio.store).find(visitor.name, story)
    if found is None:
        raise Problem(404, "missing")
    return found


def _desk(kept: Kept) -> desk.Desk:
    return desk.from_json(kept.content)


def _explained(kept: Kept) -> bool:
    return bool(kept.content.get("explained", True))


def _fit(panel: Panel) -> Panel:
    return budget.shown(panel, len, PANEL_CHARACTERS)


def _author(visitor: Visitor) -> Author:
    settings = visitor.studio.settings
    if not settings.model:
        raise Problem(422, "desk_no_model")
    return Author(settings.model, settings.model_key or os.environ.get("HEEDFUL_API_KEY", ""))


def _answers(author: Author, ask: desk.Ask, temperature: float) -> list[str]:
    try:
        return author.answers(ask, temperature=temperature)
    except httpx.HTTPError:
        raise Problem(502, "desk_model") from None


def _changed(visitor: Visitor, story: str, change: Callable[[desk.Desk], desk.Desk]) -> Response:
    kept = _kept(visitor, story)
    return JSONResponse(_save(visitor, kept, change(_desk(kept))))


def _save(visitor: Visitor, kept: Kept, now: desk.Desk) -> dict[str, Any]:
    content = desk.to_json(now) | {"explained": _explained(kept)}
    if not Stories(visitor.studio.store).save(visitor.name, kept, content):
        raise Problem(409, "desk_elsewhere")
    keeping.judged(visitor.studio.store, visitor.name, kept.id, now, since=len(kept.content["choices"]))
    return state(_kept(visitor, kept.id), now)


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=True) + "\n"
