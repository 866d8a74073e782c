"""The two READMEs say the same."""

import re

import docs_kit

ENGLISH, CHINESE = docs_kit.ROOT / "README.md", docs_kit.ROOT / "README.zh-CN.md"


def test_they_have_the_same_sections() -> None:
    levels = [re.findall(r"^(#+) ", docs_kit.outside_code(page), re.M) for page in (ENGLISH, CHINESE)]
    assert levels[0] == levels[1]
    named = [re.findall(r"^#+ .*?`(.*?)`", docs_kit.text(page), re.M) for page in (ENGLISH, CHINESE)]
    assert named[0] == named[1]


def test_they_have_the_same_commands_and_code() -> None:
    assert list(docs_kit.commands(ENGLISH)) == list(docs_kit.commands(CHINESE))
    assert docs_kit.blocks(ENGLISH, "python") == docs_kit.blocks(CHINESE, "python")
    assert docs_kit.blocks(ENGLISH, "text") == docs_kit.blocks(CHINESE, "text")


def test_they_show_the_same_picture_and_lead_to_the_same_pages() -> None:
    links = [
        sorted(set(map(docs_kit.in_english, docs_kit.links(page))) - {"README.md"})
        for page in (ENGLISH, CHINESE)
    ]
    assert links[0] == links[1]
    assert "docs/loop.svg" in links[0]


def test_they_have_the_same_tables_and_figures() -> None:
    rows = [re.findall(r"^\|.*\|$", docs_kit.text(page), re.M) for page in (ENGLISH, CHINESE)]
    assert [row.count("|") for row in rows[0]] == [row.count("|") for row in rows[1]]
    figures = [re.findall(r"\d+(?:\.\d+)?", docs_kit.part(page, "results")) for page in (ENGLISH, CHINESE)]
    assert figures[0] == figures[1]


def test_each_leads_to_the_other() -> None:
    assert "README.zh-CN.md" in docs_kit.links(ENGLISH)
    assert "README.md" in docs_kit.links(CHINESE)


def test_they_stay_short() -> None:
    for page in (ENGLISH, CHINESE):
        assert len(docs_kit.text(page).splitlines()) <= 160
