"""What annotators disagree on most, for a researcher to decide."""

from fastapi import APIRouter
from fastapi.responses import Response

from heedful.people.figures import Disputed
from heedful.people.statistics import statistics
from heedful.web import tasklist
from heedful.web.pages import page
from heedful.web.session import Researcher
from heedful.web.studio import Link

router = APIRouter()
LINKS = (Link("/disputed", "disputed_title", "researcher"),)


@router.get("/disputed", include_in_schema=False)
def disputed(visitor: Researcher) -> Response:
    """The queue, the worst disagreement first; a decision is stored as the researchers' own answer."""
    found = statistics(visitor.studio.store).adjudication
    tasks = tasklist.about(visitor.studio.store, {one.prompt_id for one in found})
    rows = [(one, _task_of(one, tasks.get(one.prompt_id, []))) for one in found]
    return page(visitor, "disputed.jinja", title="disputed_title", script="batches.js", disputed=rows)


def _task_of(one: Disputed, tasks: list[tuple[str, frozenset[str]]]) -> str:
    """A task that shows what the dispute is about; none, if the judgements came from a file."""
    return next((task for task, answers in tasks if answers >= set(one.answers)), "")
