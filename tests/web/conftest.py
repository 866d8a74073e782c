"""What the studio's tests share: a running studio, and a browser a module."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_kit import chromium
from playwright.sync_api import Browser
from web_kit import Running, running


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    """A studio on a filled store."""
    with running(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def long_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A studio that a module's tests share; each minds its own batch."""
    with running(tmp_path_factory.mktemp("studio")) as made:
        yield made


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    """Closed with its module: its event loop must not meet other tests."""
    with chromium() as made:
        yield made
