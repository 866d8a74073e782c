"""The server's application: routes, errors, guard, and the OpenAPI document."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

import heedful
from heedful.serve import chat_route, completion_route, errors, other_routes, reward_route
from heedful.serve.backend import Backend
from heedful.serve.config import ServeConfig
from heedful.serve.guard import Guard
from heedful.serve.keys import Buckets, Keyring
from heedful.serve.leaving import Gone
from heedful.serve.metrics import Metrics


def build(config: ServeConfig, backend: Backend, metrics: Metrics, keys: list[str]) -> FastAPI:
    """The application around an engine, which lives as long as the application does."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        backend.start()
        watch: Callable[[], Any] | None = getattr(backend, "watch", None) if config.watch else None
        task = asyncio.create_task(watch()) if watch else None
        yield
        if task is not None:
            task.cancel()
        await asyncio.to_thread(backend.close)

    app = FastAPI(
        title="heedful serve",
        version=heedful.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    app.state.backend, app.state.metrics = backend, metrics
    errors.install(app)
    app.add_exception_handler(Gone, _gone)
    for part in (chat_route, completion_route, other_routes, reward_route):
        app.include_router(part.router)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    buckets = Buckets(config.rate, config.burst)
    app.add_middleware(Guard, keys=Keyring(keys), buckets=buckets, metrics=metrics, max_body=config.max_body)
    return app


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it; the counters of responses do


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, in which nothing is answered with FastAPI's 422, and every route but one needs a key."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        for path, operations in document["paths"].items():
            for operation in operations.values():
                operation["responses"].pop("422", None)
                operation["security"] = [] if path == "/health" else [{"key": []}]
        parts = document["components"]
        parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for name in ("HTTPValidationError", "ValidationError"):
            parts["schemas"].pop(name, None)
        app.openapi_schema = document
    return app.openapi_schema
