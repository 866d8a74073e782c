"""`/v1/models`, `/v1/embeddings`, `/health` and `/metrics`."""

import base64
import struct
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from heedful.serve import asking
from heedful.serve.backend import Backend
from heedful.serve.common import ERRORS, serve_of, served_model
from heedful.serve.errors import ApiError
from heedful.serve.leaving import unless_gone
from heedful.serve.replies import EmbeddingReply, Health, ModelList, ModelReply
from heedful.serve.requests import EmbeddingRequest

router = APIRouter()


@router.get("/health", response_model=Health, responses={503: {"model": Health}})
async def health(request: Request) -> Response:
    """Whether the engine runs; the one route without a key."""
    alive = serve_of(request).alive
    return JSONResponse({"status": "ok" if alive else "failing"}, 200 if alive else 503)


COUNTED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Counters in Prometheus's text form.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}


# FastAPI documents errors with the type of `response_class`; they are JSON.
@router.get("/metrics", response_class=Response, responses={**ERRORS, **COUNTED})
async def metrics(request: Request) -> Response:
    """Counters in Prometheus's text form."""
    return PlainTextResponse(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4")


@router.get("/v1/models", response_model=ModelList, responses=ERRORS)
async def models(request: Request) -> Response:
    """Every model that is served."""
    return JSONResponse({"object": "list", "data": described(serve_of(request))})


@router.get("/v1/models/{name:path}", response_model=ModelReply, responses=ERRORS)
async def model(name: str, request: Request) -> Response:
    """One model."""
    for found in described(serve_of(request)):
        if found["id"] == name:
            return JSONResponse(found)
    raise ApiError("there is no model of this name here", 404, param="model", code="model_not_found")


def described(backend: Backend) -> list[dict[str, Any]]:
    """The models, adapters and reward models."""
    common = {"object": "model", "owned_by": "heedful"}
    found: list[dict[str, Any]] = [
        {
            "id": m.name,
            **common,
            "created": m.created,
            "root": m.parent or m.name,
            "parent": m.parent,
            "max_model_len": m.context,
            "kind": "adapter" if m.parent else "language",
            "fingerprint": m.fingerprint,
        }
        for m in backend.models.values()
    ]
    for name, fingerprint in backend.rewards.items():
        found.append({"id": name, **common, "created": 0, "kind": "reward", "fingerprint": fingerprint})
    return found


@router.post("/v1/embeddings", response_model=EmbeddingReply, responses=ERRORS)
async def embeddings(body: EmbeddingRequest, request: Request) -> Response:
    """The mean of the last hidden states of each text, scaled to length 1."""
    backend = serve_of(request)
    served = served_model(backend, body.model)
    given: Any = [body.input] if isinstance(body.input, str) or isinstance(body.input[0], int) else body.input
    texts = [asking.encoded(served, g) if isinstance(g, str) else tuple(g) for g in given]
    for ids in texts:
        asking.check_ids(served, ids)
    found = await unless_gone(request, backend.embed(served.name, texts), lambda: None)
    if body.dimensions not in (None, len(found[0])):
        raise ApiError(f"the model's embeddings have {len(found[0])} dimensions", param="dimensions")
    data = [
        {"index": i, "object": "embedding", "embedding": _encoded(row, body.encoding_format == "base64")}
        for i, row in enumerate(found)
    ]
    n = sum(map(len, texts))
    usage = {"prompt_tokens": n, "total_tokens": n}
    return JSONResponse({"object": "list", "model": served.name, "data": data, "usage": usage})


def _encoded(row: list[float], as_base64: bool) -> list[float] | str:
    return base64.b64encode(struct.pack(f"<{len(row)}f", *row)).decode() if as_base64 else row
