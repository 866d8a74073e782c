"""The application: routes of all features behind one guard."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from heedful import __version__
from heedful.data.store import Store
from heedful.errors import UserError
from heedful.web import (
    adjudicate,
    assets,
    batches,
    chat,
    desk,
    entry,
    exchange,
    grades,
    people,
    problems,
    statistics,
    work,
)
from heedful.web.guard import Guard
from heedful.web.session import Problem
from heedful.web.settings import Settings
from heedful.web.studio import Studio

FEATURES = (work, chat, desk, batches, people, statistics, adjudicate, grades, exchange, entry)
"""Modules with a `router` and `LINKS`, in the order of the bar on top. A page of yours is one more."""

THREADS = 16
"""Requests that are worked on at once; more wait. Writers queue at the store anyhow."""


def create_app(store: Store, settings: Settings) -> FastAPI:
    """Return the studio on an open store."""
    links = tuple(link for feature in FEATURES for link in feature.LINKS)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        yield

    app = FastAPI(
        title="Heedful studio",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
    )
    app.state.studio = Studio(store, settings, links)
    app.state.started = time.monotonic()
    app.add_exception_handler(Problem, problems.on_problem)
    app.add_exception_handler(UserError, problems.on_user_error)
    app.add_exception_handler(RequestValidationError, problems.on_invalid)
    app.add_exception_handler(HTTPException, problems.on_http)
    app.include_router(assets.router)
    for feature in FEATURES:
        app.include_router(feature.router)
    app.add_middleware(Guard, settings=settings)
    return app
