"""Every test that asks for `where` or `store` runs on SQLite and on PostgreSQL."""

from collections.abc import Iterator

import pytest
from store_kit import fill

from databases import where
from heedful.data.store import Store

__all__ = ["where"]


@pytest.fixture
def store(where: str) -> Iterator[Store]:
    with Store.open(where) as opened:
        fill(opened)
        yield opened
