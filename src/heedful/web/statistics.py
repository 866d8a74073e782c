"""Statistics of what people said: every figure is one of `heedful.people.statistics`, drawn on the server."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from markupsafe import Markup
from pydantic import Field

from heedful.people.figures import Statistics
from heedful.stats.estimate import Estimate
from heedful.web import charts
from heedful.web.pages import estimates, page
from heedful.web.session import Researcher
from heedful.web.studio import Link
from heedful.web.words import Words

router = APIRouter()
LINKS = (Link("/statistics", "statistics_title", "researcher"),)

Choice = Annotated[str | None, Field(max_length=200)]
MOST = 40
"""Annotators or models in one chart."""


@router.get("/statistics", include_in_schema=False)
def show(visitor: Researcher, batch: Choice = None, criterion: Choice = None) -> Response:
    """The page, for all batches or one."""
    found = _found(visitor, batch, criterion)
    return page(
        visitor,
        "statistics.jinja",
        title="statistics_title",
        script="batches.js",
        found=found,
        batches=visitor.studio.queue.batches(),
        batch=batch or "",
        criterion=criterion or "",
        figures=list(_figures(found, visitor.words)),
    )


@router.get("/api/statistics")
def plain(visitor: Researcher, batch: Choice = None, criterion: Choice = None) -> Response:
    """The same figures as JSON."""
    return JSONResponse(_found(visitor, batch, criterion).json())


def _found(visitor: Researcher, batch: str | None, criterion: str | None) -> Statistics:
    if batch:
        visitor.studio.queue.batch(batch)  # what is not there is not looked for
    return visitor.studio.figures.newest(batch=batch or None, criterion=criterion or None)


def _figures(found: Statistics, t: Words) -> Iterator[tuple[str, Markup, str]]:
    """Yield what the page shows: a heading, a drawing, and what to make of it."""
    for kind, agreement in found.agreement.items():
        rows = [
            charts.Dot(t.named("measure", name), figure, said(figure, t))
            for name, figure in estimates(agreement)
        ]
        if rows:
            heading = t("agreement_of", kind=t.named("judgement", kind))
            yield heading, charts.dots(rows, heading, low=-0.5, high=1, middle=0), t("agreement_note")
    known = [(one.name, Estimate(one.accuracy)) for one in found.annotators if one.accuracy is not None]
    rows = [charts.Dot(name, figure, said(figure, t, share=True)) for name, figure in known[:MOST]]
    if rows:
        yield (
            t("accuracy_of"),
            charts.dots(rows, t("accuracy_of"), low=0, high=1, middle=0.5),
            t("accuracy_note"),
        )
    biases = [("position_bias", found.position), ("length_bias", found.length)]
    rows = [charts.Dot(t(key), figure, said(figure, t, share=True), "prefer") for key, figure in biases]
    yield t("biases"), charts.dots(rows, t("biases"), low=0, high=1, middle=0.5), t("biases_note")
    models = [one for one in found.models if one.points.value is not None][:MOST]
    if models:
        rows = [
            charts.Dot(one.policy or t("no_policy"), one.points, said(one.points, t, digits=0))
            for one in models
        ]
        reach = [
            value for one in models for value in (one.points.low, one.points.high, one.points.value) if value
        ]
        low, high = min(reach) - 20, max(reach) + 20
        yield (
            t("strengths"),
            charts.dots(rows, t("strengths"), low=round(low), high=round(high)),
            t("strengths_note"),
        )
    times = [
        (t.named("judgement", kind), one.median, t("seconds", seconds=round(one.median)))
        for kind, one in found.times.items()
    ]
    if times:
        yield t("times"), charts.bars(times, t("times")), t("times_note")


def said(figure: Estimate, t: Words, *, share: bool = False, digits: int = 2) -> str:
    """A figure with its interval in few characters; without a value, that there is none."""
    if figure.value is None:
        return t("undefined")
    if share:
        shown = [
            f"{100 * value:.0f}" for value in (figure.value, figure.low, figure.high) if value is not None
        ]
        shown[0] += " %"
    else:
        given = (figure.value, figure.low, figure.high)
        shown = [f"{value:.{digits}f}" for value in given if value is not None]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]" if len(shown) == 3 else shown[0]
