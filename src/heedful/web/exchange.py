"""Files in and out: what is asked comes in, what people said goes out. No request ever names a path."""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import Field
from starlette.background import BackgroundTask

from heedful.people import exports, imports, labels
from heedful.web.intake import take_in
from heedful.web.pages import page
from heedful.web.session import Problem, Researcher, Visitor
from heedful.web.studio import Link

router = APIRouter()
LINKS = (Link("/files", "files_title", "researcher"),)

ENDINGS = (".jsonl", ".json", ".csv", ".txt", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz", ".txt.gz")


@router.get("/files", include_in_schema=False)
def show(visitor: Researcher) -> Response:
    """The page with both ways."""
    return page(
        visitor,
        "files.jinja",
        title="files_title",
        script="batches.js",
        formats=get_args(exports.Format),
        sources=get_args(imports.Source),
        aggregates=get_args(labels.Aggregate),
        counts=visitor.studio.store.counts(),
    )


@router.post("/api/import")
async def take(
    request: Request,
    visitor: Researcher,
    name: Annotated[str, Field(max_length=300)],
    kind: Literal["prompts"] | imports.Source = "prompts",
    policy: Annotated[str, Field(max_length=200)] = "",
    round: Annotated[str, Field(max_length=6, pattern=r"^\d*$")] = "",
) -> Response:
    """Take in a file of prompts and answers, or of judgements; of its name only the ending counts."""
    ending = next((one for one in ENDINGS if name.lower().endswith(one)), None)
    if ending is None:
        raise Problem(422, "ending")
    with tempfile.TemporaryDirectory(prefix="heedful-import-") as folder:
        path = Path(folder) / f"file{ending}"
        with path.open("wb") as file:
            async for chunk in request.stream():
                file.write(chunk)
        counts = await to_thread.run_sync(_taken, visitor, path, kind, policy, int(round or 0))
    message = visitor.words("taken_in", **{"prompts": 0, "answers": 0, "judgements": 0} | counts)
    return JSONResponse({"counts": counts, "message": message})


def _taken(visitor: Visitor, path: Path, kind: str, policy: str, round_: int) -> dict[str, int]:
    store = visitor.studio.store
    if kind == "prompts":
        return take_in(store, path, round_=round_, policy=policy)
    taken = imports.import_file(
        store, path, cast(imports.Source, kind), annotator=visitor.name, round=round_, policy=policy
    )
    return {"prompts": taken.prompts, "answers": taken.answers, "judgements": taken.events}


@router.get("/api/export/{format}")
def give(visitor: Researcher, format: exports.Format, aggregate: labels.Aggregate = "none") -> Response:
    """Everything that people said so far, in a format that trainers read, with the manifest that rebuilds it."""
    folder = Path(tempfile.mkdtemp(prefix="heedful-export-"))
    try:
        inside = folder / "files"
        inside.mkdir()
        path = inside / f"heedful-{format}.{'csv' if format == 'csv' else 'jsonl'}"
        exports.export(visitor.studio.store, path, format, aggregate=aggregate)
        packed = Path(shutil.make_archive(str(folder / "packed"), "zip", inside))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    # An attachment is never shown by the browser, whatever an answer in it says.
    return FileResponse(
        packed,
        filename=f"heedful-{format}.zip",
        media_type="application/zip",
        content_disposition_type="attachment",
        background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
    )
