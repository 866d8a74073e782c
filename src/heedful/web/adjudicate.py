"""What annotators disagree on most, for a researcher to decide."""

from fastapi import APIRouter
from fastapi.responses import Response

from heedful.web.pages import page
from heedful.web.session import Researcher
from heedful.web.studio import Link

router = APIRouter()
LINKS = (Link("/disputed", "disputed_title", "researcher"),)


@router.get("/disputed", include_in_schema=False)
def disputed(visitor: Researcher) -> Response:
    """The queue, the worst disagreement first; a decision is stored as the researchers' own answer."""
    found = visitor.studio.figures.newest()
    return page(
        visitor, "disputed.jinja", title="disputed_title", script="batches.js", disputed=found.adjudication
    )
