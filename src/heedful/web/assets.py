"""Style sheets, scripts and wording as browsers fetch them: held in memory, named by their content."""

import hashlib
import json
from functools import cache
from importlib.resources import files

from fastapi import APIRouter, Request
from fastapi.responses import Response

from heedful.web import words
from heedful.web.session import Problem

router = APIRouter()

TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@cache
def everything() -> dict[str, bytes]:
    """Return every file of the package's folder `static` by name, and the wording of each language."""
    found = {item.name: item.read_bytes() for item in files("heedful.web").joinpath("static").iterdir()}
    for lang, known in words.LANGUAGES.items():
        found[f"words.{lang}.js"] = f"export default {json.dumps(known, ensure_ascii=False)};\n".encode()
    return found


@cache
def version() -> str:
    """Return the name of this state of all files: browsers may keep what they fetched under it for ever."""
    total = hashlib.sha256()
    for name, content in sorted(everything().items()):
        total.update(name.encode() + b"\0" + content + b"\0")
    return total.hexdigest()[:12]


@router.get("/static/{state}/{name}", include_in_schema=False)
def static(request: Request, state: str, name: str) -> Response:
    """A file by its plain name; there is no path, so that none can lead elsewhere."""
    content = everything().get(name)
    if content is None:
        raise Problem(404, "missing")
    headers = {"cache-control": "public, max-age=31536000, immutable" if state == version() else "no-cache"}
    return Response(content, media_type=TYPES[name.rpartition(".")[2]], headers=headers)


@router.get("/favicon.ico", include_in_schema=False)
def favicon() -> Response:
    """The mark of the studio."""
    return Response(everything()["mark.svg"], media_type=TYPES["svg"])
