"""Every link inside the repository leads somewhere."""

from pathlib import Path

import docs_kit
import pytest


@pytest.mark.parametrize("page", docs_kit.PAGES, ids=docs_kit.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in docs_kit.links(page):
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.exists(), f"{target} leads nowhere"
        assert path.is_relative_to(docs_kit.ROOT.resolve()), f"{target} leads out of the repository"
        if anchor:
            assert anchor in docs_kit.anchors(path), f"{target} names no heading"


def test_every_page_can_be_reached_from_the_readme() -> None:
    start = docs_kit.ROOT / "README.md"
    reached, waiting = {start}, [start]
    while waiting:
        page = waiting.pop()
        for target in docs_kit.links(page):
            path = (page.parent / target.partition("#")[0]).resolve()
            if path.suffix in {".md", ".ipynb"} and path.is_file() and path not in reached:
                reached.add(path)
                waiting.append(path)
    log = docs_kit.ROOT / "LOG.md"
    assert {page.resolve() for page in docs_kit.PAGES} - {path.resolve() for path in reached} <= {
        log.resolve()
    }
