"""The pages in docs/zh say what their English pages say."""

import os.path
import re
from pathlib import Path

import docs_kit
import pytest

ENGLISH = docs_kit.ROOT / "docs"
CHINESE = ENGLISH / "zh"
TWINS = sorted(path.name for path in CHINESE.glob("*.md"))
WITHOUT = {"panels.md": "\n## Figures\n"}  # what a twin leaves to its English page, from this heading on


def pages(name: str) -> tuple[str, str]:
    """A page in English, as far as it has a twin, and its twin."""
    english = docs_kit.text(ENGLISH / name)
    if name in WITHOUT:
        english, heading, _ = english.partition(WITHOUT[name])
        assert heading, f"docs/{name} has lost a heading that its twin ends before"
    return english, docs_kit.text(CHINESE / name)


def code(page: str) -> list[tuple[str, str]]:
    """Every fenced block with its language, without the comments of shell commands."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return [(lang, re.sub(r" +# .*", "", block) if lang == "bash" else block) for lang, block in found]


def prose(page: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)


def named(page: str) -> set[str]:
    """What a page's prose names in code: settings, files, values."""
    return set(re.findall(r"`+([^`\n]+)`+", prose(page)))


def figures(page: str) -> set[str]:
    """The numbers in a page's prose, outside code and addresses."""
    return set(re.findall(r"\d+(?:[.,]\d+)*", re.sub(r"`[^`\n]*`|\]\([^)]*\)", "", prose(page))))


def targets(page: Path) -> set[str]:
    """Where a page's links lead, from the root, without headings; a twin counts as its English page."""
    found = set()
    for target in docs_kit.links(page):
        path = page.parent / target.partition("#")[0] if not target.startswith("#") else page
        found.add(docs_kit.in_english(os.path.relpath(path, docs_kit.ROOT)))
    return found


def test_there_are_twins() -> None:
    assert TWINS


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_has_its_page_and_each_leads_to_the_other(name: str) -> None:
    assert docs_kit.text(ENGLISH / name).splitlines()[2] == f"[中文](zh/{name})"
    assert docs_kit.text(CHINESE / name).splitlines()[2] == f"[English](../{name})"


@pytest.mark.parametrize("name", TWINS)
def test_twins_have_the_same_code(name: str) -> None:
    english, chinese = map(code, pages(name))
    assert english == chinese


@pytest.mark.parametrize("name", TWINS)
def test_twins_have_the_same_sections_and_tables(name: str) -> None:
    english, chinese = pages(name)
    for shape in (r"^(#+) ", r"^(\||- |\d+\. )"):
        assert re.findall(shape, prose(english), re.M) == re.findall(shape, prose(chinese), re.M)
    rows = [re.findall(r"^\|.*\|$", prose(page), re.M) for page in (english, chinese)]
    assert [row.count("|") for row in rows[0]] == [row.count("|") for row in rows[1]]


@pytest.mark.parametrize("name", TWINS)
def test_twins_name_the_same_settings_and_figures(name: str) -> None:
    english, chinese = pages(name)
    assert named(english) == named(chinese)
    assert figures(english) == figures(chinese)


@pytest.mark.parametrize("name", sorted(set(TWINS) - set(WITHOUT)))
def test_twins_lead_to_the_same_pages(name: str) -> None:
    assert targets(ENGLISH / name) == targets(CHINESE / name)


@pytest.mark.parametrize(
    "page", [docs_kit.ROOT / "README.zh-CN.md", *sorted(CHINESE.glob("*.md"))], ids=docs_kit.name
)
def test_chinese_pages_lead_to_chinese_pages(page: Path) -> None:
    for target in docs_kit.links(page):
        path = (page.parent / target.partition("#")[0]).resolve()
        if path.parent == ENGLISH.resolve() and path.name in TWINS:
            assert path.name == page.name, f"{target} has a twin"
