"""Pages: how one is rendered, and what it hands to its script."""

import json
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from functools import cache
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from heedful.report import digits
from heedful.stats.estimate import Estimate
from heedful.web import assets
from heedful.web.session import Visitor


@cache
def environment() -> Environment:
    """The templates; whatever they show is escaped."""
    made = Environment(
        loader=PackageLoader("heedful.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"moment": moment, "seconds": digits.seconds, "estimates": estimates}
    return made


def moment(ms: int) -> str:
    """A time in milliseconds as people read it, in the server's time zone."""
    return datetime.fromtimestamp(ms / 1000).astimezone().strftime("%Y-%m-%d %H:%M")


def page(
    visitor: Visitor,
    template: str,
    *,
    title: str,
    script: str = "",
    data: Any = None,
    status: int = 200,
    **context: Any,
) -> HTMLResponse:
    """Render a template that extends `base.jinja`.

    `title` is a key of the wording, `script` the module of `static` that runs the page, and `data` whatever
    JSON it should read (`page.js`: `pageData`). Templates have `t` (the wording), `visitor`, and `context`.
    """
    html = (
        environment()
        .get_template(template)
        .render(
            t=visitor.words,
            visitor=visitor,
            title=visitor.words(title),
            script=script,
            data=json.dumps(data, ensure_ascii=False),
            assets=f"/static/{assets.version()}",
            links=[
                link for link in visitor.studio.links if visitor.account and visitor.account.may(link.role)
            ],
            here=next((link.path for link in visitor.studio.links if link.word == title), ""),
            **context,
        )
    )
    # A model may write a lone surrogate, which UTF-8 cannot hold.
    return HTMLResponse(html.encode("utf-8", "replace"), status)


def estimates(record: Any) -> Iterator[tuple[str, Estimate]]:
    """Yield the figures of a record by the names of its fields."""
    for each in fields(record):
        value = getattr(record, each.name)
        if isinstance(value, Estimate):
            yield each.name, value
