"""The command line's face: light, in the order of the loop, and every verb is real."""

import json
import re
import subprocess
import sys
from importlib import import_module

import pytest

from cli.kit import Heedful
from heedful import __version__, cli, settings

STAGES = "tokenizer pretrain sft feedback reward rl prefer best-of distill judge revise write evaluate report"
VERBS = [
    "demo",
    "loop",
    *STAGES.split(),
    *["inspect", "selfcheck", "doctor", "bench", "studio", "serve", "panel"],
]
HEAVY = [
    "torch",
    "transformers",
    "tokenizers",
    "pydantic",
    "numpy",
    "scipy",
    "sqlalchemy",
    "yaml",
    "matplotlib",
]


@pytest.mark.parametrize(("words", "allowed"), [(["--help"], set()), (["rl", "--help"], {"pydantic"})])
def test_help_imports_nothing_heavy(words: list[str], allowed: set[str]) -> None:
    program = (
        "import sys, json\n"
        "from heedful import cli\n"
        "sys.argv = ['heedful', *json.loads(sys.argv[1])]\n"
        "try:\n    cli.main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        f"print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(words)], capture_output=True, text=True, check=True
    )
    assert set(json.loads(done.stdout.splitlines()[-1])) <= allowed


def test_help_lists_the_verbs_in_the_order_of_the_loop(heedful: Heedful) -> None:
    shown = heedful("--help").out
    assert re.findall(r"^  ([a-z][a-z-]*)  +[A-Z]", shown, re.MULTILINE) == VERBS


def test_no_words_show_the_help(heedful: Heedful) -> None:
    ended = heedful()
    assert "Commands:" in ended.out + ended.err
    assert "Traceback" not in ended.err


def test_the_version(heedful: Heedful) -> None:
    ended = heedful("--version")
    assert (ended.code, ended.out) == (0, f"heedful {__version__}\n")


@pytest.mark.parametrize("verb", [*cli.HELP, *(f"panel_{part}" for part in cli.PANEL_HELP)])
def test_every_verb_has_a_stage_with_a_configuration_a_main_and_a_line(verb: str) -> None:
    file = verb.replace("-", "_")
    stage = import_module(f"heedful.stages.{file}")
    assert stage.__doc__
    for name in (cli.config_name(file), "main", "line"):
        assert getattr(stage, name).__doc__


@pytest.mark.parametrize("verb", ["demo", "rl", "best-of", "panel study", "selfcheck", "serve", "bench"])
def test_settings_are_listed_with_what_holds_if_nothing_is_said(heedful: Heedful, verb: str) -> None:
    """Every setting once, in 80 columns; and what is shown as a default is taken as that value."""
    text = heedful(*verb.split(), "--settings").out
    assert max(map(len, text.splitlines()[: text.count("=")])) < 80
    shown = dict(re.findall(r"^  ([a-z_.]+)=(\S*)", text, re.MULTILINE))
    config = cli.config_of(verb)
    names = {field.alias or name for name, field in config.model_fields.items()}
    assert {name.split(".")[0] for name in shown} == names
    shown |= {"model": "..."} if verb == "serve" else {}
    needed = [name for name, value in shown.items() if value == "..."]
    given = {name: value for name, value in shown.items() if value and value != "..."}
    values = settings.parse(f"{name}={value}" for name, value in given.items())
    assert verb == "serve" or list(shown)[: len(needed)] == needed
    filled = settings.build(config, {**dict.fromkeys(needed, "-"), **values}, what=verb)
    bare = settings.build(config, dict.fromkeys([*needed, *({"output"} & names)], "-"), what=verb)
    assert filled.model_dump(exclude={"output"}) == bare.model_dump(exclude={"output"})
