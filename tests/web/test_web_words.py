"""Wording: both languages say the same things, and pages ask for nothing that is not said."""

import re
import string
from importlib.resources import files

import pytest

from heedful.web.words import LANGUAGES, MODULES, chosen

STATIC = {item.name: item.read_text("utf-8") for item in files("heedful.web").joinpath("static").iterdir()}
TEMPLATES = {
    item.name: item.read_text("utf-8") for item in files("heedful.web").joinpath("templates").iterdir()
}


def _gaps(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_both_languages_have_the_same_keys_and_gaps(module: object) -> None:
    english, chinese = module.ENGLISH, module.CHINESE  # type: ignore[attr-defined]
    assert list(english) == list(chinese)
    assert [key for key in english if _gaps(english[key]) != _gaps(chinese[key])] == []


def test_no_key_is_said_twice_by_two_modules() -> None:
    keys = [key for module in MODULES for key in module.ENGLISH]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("name", sorted(name for name in STATIC if name.endswith(".js")))
def test_scripts_ask_for_words_that_exist(name: str) -> None:
    asked = set(re.findall(r"""\bt\("([a-z_]+)"[),]""", STATIC[name]))
    assert asked - set(LANGUAGES["en"]) == set()


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_templates_ask_for_words_that_exist_and_escape_everything(name: str) -> None:
    asked = set(re.findall(r"""\bt\(["']([a-z_]+)["'][),]""", TEMPLATES[name]))
    assert asked - set(LANGUAGES["en"]) == set()
    assert not re.search(r"\|\s*safe|autoescape|<script(?![^>]* src=)|style=", TEMPLATES[name])


def test_scripts_never_read_html_and_nothing_leads_outside() -> None:
    for name, text in STATIC.items():
        if name.endswith(".js"):
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text
            )
        outside = re.findall(r"https?://[^\s\"']+|@import|url\(", text)
        assert [one for one in outside if not one.startswith("http://www.w3.org/")] == [], name


def test_the_browsers_language_is_spoken() -> None:
    assert chosen("zh-CN,zh;q=0.9,en;q=0.8", "en") == "zh"
    assert chosen("de-DE, en-US;q=0.5", "zh") == "en"
    assert chosen("fr", "zh") == "zh"
    assert chosen("", "en") == "en"
