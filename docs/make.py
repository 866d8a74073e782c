"""Write the parts of the documentation that the code already says: run by `make docs`, checked by tests/docs.

Whole pages: docs/cli.md and docs/losses.md. Between `<!-- NAME -->` and `<!-- /NAME -->`: the map of modules in
ARCHITECTURE.md and the public names in docs/library.md. `python docs/make.py --notebook` executes
docs/quickstart.ipynb too and keeps its outputs, which takes about a minute.
"""

import ast
import inspect
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

import heedful
from heedful import cli, described, feedback_verbs, recipes
from heedful.engine.stage import StageConfig
from heedful.engine.train import TrainingConfig
from heedful.losses import bind

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "heedful"
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
NOTE = "<!-- Written by `make docs` from the code: change the docstrings there, not this page. -->\n\n"
LOSSES = (
    *("supervised", "reward", "preference", "unpaired", "listwise", "watched", "policy", "advantage", "kl"),
    "distill",
)


def generated() -> dict[Path, str]:
    """Every file that is written, whole or in part, with its new content."""
    files = {
        ROOT / "docs" / "cli.md": NOTE + command_line(),
        ROOT / "docs" / "losses.md": NOTE + losses(),
    }
    parts = {
        ROOT / "ARCHITECTURE.md": ("modules", modules()),
        ROOT / "docs" / "library.md": ("names", names()),
    }
    return files | {path: with_part(path.read_text(encoding="utf-8"), *part) for path, part in parts.items()}


def with_part(text: str, name: str, part: str) -> str:
    """`text` with what stands between the marks of `name` replaced."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SystemExit(f"a page has lost its marks {start} and {end}")
    return f"{before}{start}\n\n{part}\n\n{end}{after}"


# The command line


def command_line() -> str:
    """docs/cli.md."""
    group: Any = typer.main.get_command(cli.app)
    commands = flattened(group)
    verbs = [f"| [`{n}`](#{n.replace(' ', '-')}) | {command.help} |" for n, command in commands.items()]
    parts = [
        "# Command line\n",
        "`heedful VERB RECIPE key=value ...`, where RECIPE is a built-in name or a YAML file. Values are YAML; "
        "`STAGE.key=value` sets a stage's key in `demo` and `loop`. `--dry-run` prints the resolved "
        "configuration and stops; `heedful --processes N VERB ...` trains in [several processes](cluster.md). "
        "What you can mend is one sentence on standard error and exit code 2.\n",
        "| verb | what it does |\n|---|---|\n" + "\n".join(verbs) + "\n",
        recipe_table(),
        shared_settings(),
        *(verb_section(name, command) for name, command in commands.items()),
        "## world\n\nNo verb: `demo` and `loop` write the built-in world's files first. Set as `world.key=value`.\n",
        settings_table(cli.stage_config("world"), StageConfig),
    ]
    return "\n".join(parts)


def flattened(group: Any) -> dict[str, Any]:
    """Every command by what is typed for it: those of a group after the group's name."""
    found = {}
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        found |= {name: command} if inner is None else {f"{name} {n}": c for n, c in inner.items()}
    return found


def recipe_table() -> str:
    """The built-in recipes."""
    rows = [f"| `{n}` | {first_line(import_module(f'heedful.recipes.{n}'))} |" for n in recipes.NAMES]
    return (
        "## Recipes\n\n| name | what it is |\n|---|---|\n" + "\n".join(rows) + "\n\n"
        "A YAML file holds the same keys, one section a stage; `recipe: NAME` in it starts from a built-in one.\n"
    )


def shared_settings() -> str:
    """The settings that several stages share, described once."""
    return (
        "## Settings of every stage\n\n"
        "A verb writes to `runs/VERB` unless `output` says otherwise; a loop, to a folder of its run.\n\n"
        f"{settings_table(StageConfig)}\n"
        "## Settings of every stage that makes passes over data\n\n"
        "`pretrain`, `sft`, `reward` and `prefer`, unless their own table says otherwise.\n\n"
        f"{settings_table(TrainingConfig, StageConfig)}"
    )


def verb_section(name: str, command: Any) -> str:
    """One verb: usage, what it does, settings."""
    words = [f"heedful {name}"]
    options = []
    for param in command.params:
        option = param.opts[0].startswith("-")
        if option:
            options.append(f"| `{param.opts[0]}` | {param.help or ''} | {described.shown(param.default)} |")
        else:
            words.append("key=value ..." if param.name == "words" else param.name.upper())
    text = f"## {name}\n\n{command.help}\n\n```text\n{' '.join([*words, '[OPTIONS]'])}\n```\n"
    if name == "demo":
        return f"{text}\nThe settings of [`loop`](#loop), laid over those of the recipe `demo`.\n"
    config = cli.config_of(name)
    if config is None:
        return text + "\n| option | what it does | default |\n|---|---|---|\n" + "\n".join(options) + "\n"
    base = next((b for b in (TrainingConfig, StageConfig) if issubclass(config, b)), None)
    section = f"{text}\n{inspect.getdoc(config)}\n\n{settings_table(config, base)}"
    return section + store_verbs() if name == "feedback" else section


def store_verbs() -> str:
    """The verbs of `heedful feedback`."""
    parts = []
    for verb, (config, _) in feedback_verbs.VERBS.items():
        parts.append(f"### feedback {verb}\n\n```text\nheedful feedback {verb} key=value ...\n```\n")
        parts.append(f"{inspect.getdoc(config)}\n\n{settings_table(config)}")
    return "\n" + "\n".join(parts)


def settings_table(config: type[BaseModel], base: type[BaseModel] | None = None) -> str:
    """A table of the settings that `config` adds to `base` or gives another default."""
    rows = [
        f"| `{s.name}` | {s.kind} | {s.default or '**required**'} | {s.limits} |"
        for s in described.settings(config, base)
    ]
    return "| key | type | default | limits |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"


# The losses


def losses() -> str:
    """docs/losses.md."""
    parts = [
        "# Losses\n",
        f"{inspect.getdoc(import_module('heedful.losses'))}\n",
        f"{inspect.getdoc(bind)}\n",
        "Per token: " + ", ".join(f"`{c}`" for c in sorted(bind.TOKEN)) + ".",
        "Per sequence: " + ", ".join(f"`{c}`" for c in sorted(bind.SEQUENCE)) + ".",
        "Per pair: " + ", ".join(f"`{c}`" for c in sorted(bind.PAIR)) + ".\n",
        "`fit` multiplies each value by the weight of its token, sequence, pair or group, and divides the sum by the "
        "sum of the weights over the whole optimiser step.\n",
    ]
    for name in LOSSES:
        module = import_module(f"heedful.losses.{name}")
        parts.append(f"## {name}\n\n{inspect.getdoc(module)}\n")
        parts += [function_section(f) for f in public_functions(module)]
    return "\n".join(parts)


def public_functions(module: Any) -> list[Any]:
    """A module's own functions, in the order of the file."""
    functions = [f for n, f in vars(module).items() if inspect.isfunction(f) and not n.startswith("_")]
    return [f for f in functions if f.__module__ == module.__name__]


def function_section(function: Any) -> str:
    """A function: its columns, its hyper-parameters, its docstring with links to papers."""
    params = inspect.signature(function).parameters.values()
    given = [p.name for p in params if p.kind is p.POSITIONAL_OR_KEYWORD]
    tuned = [
        p.name if p.default is p.empty else f"{p.name}={p.default}"
        for p in params
        if p.kind is p.KEYWORD_ONLY
    ]
    call = ", ".join([*given, *(["*", *tuned] if tuned else [])])
    text = re.sub(
        r"arXiv:(\d{4}\.\d{5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", inspect.getdoc(function) or ""
    )
    return f"### {function.__name__}\n\n```text\n{function.__name__}({call})\n```\n\n{escaped(text)}\n"


def escaped(text: str) -> str:
    """Docstrings are plain text: what Markdown would take for emphasis is kept as it is."""
    return text.replace("*", "\\*").replace("_", "\\_")


# The map of modules and the public names


def modules() -> str:
    """All modules by floor, highest first, each with the first sentence of its docstring."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers: list[str] = next(c["layers"] for c in contracts if c["type"] == "layers")
    rest = dict(documented())
    lines = []
    for number, layer in zip(range(len(layers) - 1, -1, -1), layers, strict=True):
        packages = [p.strip().removeprefix("heedful.") for p in layer.split("|")]
        lines.append(f"\n**Floor {number}: {', '.join(f'`{p}`' for p in packages)}**\n")
        for package in packages:
            inside = [m for m in rest if m == package or m.startswith(package + ".")]
            lines += [f"- `{path_of(m)}` {rest.pop(m)}" for m in inside]
    lines.append("\n**Beside the floors**\n")
    lines += [f"- `{path_of(m)}` {text}" for m, text in rest.items()]
    return "\n".join(lines).lstrip("\n")


def documented() -> Iterator[tuple[str, str]]:
    """Each module below `heedful` that says what it is for, with that sentence."""
    for path in sorted(PACKAGE.rglob("*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if doc:
            yield ".".join(parts), " ".join(doc.split("\n\n")[0].split())


def path_of(module: str) -> str:
    """A module's file, from the package's folder."""
    return module.replace(".", "/") + ".py"


def names() -> str:
    """Every public name with where it lives and what it is."""
    rows = [
        f"| `{name}` | `{getattr(heedful, name).__module__}` | {first_line(getattr(heedful, name))} |"
        for name in heedful.__all__
        if name != "__version__"
    ]
    return "| name | from | what it is |\n|---|---|---|\n" + "\n".join(rows)


def first_line(thing: Any) -> str:
    """The first sentence of a docstring, in one line."""
    first = (inspect.getdoc(thing) or "").split("\n\n")[0]
    return " ".join(first.split()).replace("|", "\\|")


# The notebook


def executed(path: Path) -> Any:
    """The notebook with the outputs of a fresh run. Raises nbclient's CellExecutionError where a cell fails."""
    notebook = import_module("nbformat").read(path, as_version=4)
    client = import_module("nbclient").NotebookClient(
        notebook, timeout=600, kernel_name="python3", record_timing=False
    )
    # Warnings of other packages name folders of the machine that they ran on.
    client.execute(env=os.environ | {"PYTHONWARNINGS": "ignore"})
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def main() -> None:
    """Write every generated file that has changed, and the notebook if asked."""
    if "--notebook" in sys.argv[1:]:
        import_module("nbformat").write(executed(NOTEBOOK), NOTEBOOK)
        print(f"executed {NOTEBOOK.relative_to(ROOT)}")
    for path, text in generated().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
