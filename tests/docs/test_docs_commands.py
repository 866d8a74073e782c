"""Commands in the documentation are commands that exist, with settings that exist."""

import re
import shlex
import tomllib
from importlib.util import find_spec

import docs_kit
import pytest
import typer

from heedful import cli, feedback_verbs, recipes, settings
from heedful.errors import UserError

COMMANDS = docs_kit.generator().flattened(typer.main.get_command(cli.app))
WRITTEN = [(docs_kit.name(page), command) for page in docs_kit.PAGES for command in docs_kit.commands(page)]


def check_heedful(verb: str, words: list[str]) -> None:
    """Raise where a verb, an option, a recipe or a setting does not exist."""
    if verb == "panel":
        verb = f"panel {words[0]}"
        words = words[1:]
    known = {option: param for param in COMMANDS[verb].params for option in param.opts}
    plain, given = [], iter(words)
    for word in given:
        if not word.startswith("-"):
            plain.append(word)
            continue
        assert word in known
        if not known[word].is_flag:
            next(given)
    if verb in ("inspect", "doctor", "studio"):
        return
    if verb == "feedback" and (of_store := feedback_verbs.find(plain[0])):
        settings.check(feedback_verbs.VERBS[of_store][0], settings.parse(plain[1:]), what=of_store)
        return
    if verb == "studio":
        return
    if verb == "serve":  # options are settings too
        model = plain.pop(0) if plain and "=" not in plain[0] else None
        plain += [f"model={model}"] if model else ["reward=x"]
    elif verb == "selfcheck":
        plain.pop(0)
    elif verb not in ("demo", "bench"):
        recipes.find(plain.pop(0))
    settings.check(cli.config_of(verb), settings.parse(plain), what=verb)


def check(command: str) -> None:
    """Raise where a command of the documentation could not be typed."""
    program, *words = shlex.split(command)
    if program == "torchrun":
        program, *words = words[words.index("-m") + 1 :]
        assert words[0] in cli.IN_SEVERAL
    if words[0] == "--processes":
        words = words[2:]
        assert words[0] in cli.IN_SEVERAL
    if program == "heedful":
        check_heedful(words[0], words[1:])
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (docs_kit.ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        assert words[0] in targets
    elif program == "python" and words[0] == "-m":
        assert find_spec(words[1])
    elif program == "python":
        assert (docs_kit.ROOT / words[0]).is_file()
    else:
        assert program == "pip"
        extras = tomllib.loads((docs_kit.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for extra in re.findall(r"heedful\[(\w+)\]", command):
            assert extra in extras["optional-dependencies"]


@pytest.mark.parametrize(("page", "command"), WRITTEN)
def test_a_written_command_can_be_typed(page: str, command: str) -> None:
    check(command)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("heedful fly demo", KeyError),
        ("heedful loop lokal", UserError),
        ("heedful loop local promts=x", UserError),
        ("heedful loop local rl.klcoef=1", UserError),
        ("heedful sft local lr=1e-5", UserError),
        ("heedful sft local --fast", AssertionError),
        ("heedful --processes 2 rl local", AssertionError),
        ("torchrun --nproc-per-node 2 -m heedful fly local", AssertionError),
        ("make tea", AssertionError),
        ("pip install heedful[moon]", AssertionError),
        ("python benchmarks/none.py", AssertionError),
        ("python -m heedful.none", AssertionError),
    ],
)
def test_the_check_finds_what_does_not_exist(command: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        check(command)


def test_readme_shows_the_two_commands_of_a_newcomer() -> None:
    found = list(docs_kit.commands(docs_kit.ROOT / "README.md"))
    assert found[:2] == ["make demo", "make test"]
