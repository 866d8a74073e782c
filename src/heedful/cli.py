"""The command line: a thin face on the stages. Nothing heavy is imported before a verb runs."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from heedful import __version__
from heedful.errors import UserError

app = typer.Typer(
    name="heedful",
    help="Train language models to heed people: from raw text to an aligned, measured model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Recipe = Annotated[str, typer.Argument(help="A built-in recipe (demo, local) or a YAML file.")]
Words = Annotated[list[str] | None, typer.Argument(help="Settings: key=value ...", metavar="[KEY=VALUE]...")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the resolved configuration and stop.")]


@app.command()
def demo(words: Words = None, dry_run: DryRun = False) -> None:
    """The whole loop on the built-in world, on a CPU."""
    _loop("demo", words, dry_run)


@app.command()
def loop(recipe: Recipe, words: Words = None, dry_run: DryRun = False) -> None:
    """The whole loop on your model and data, any number of rounds."""
    _loop(recipe, words, dry_run)


def _loop(recipe: str, words: list[str] | None, dry_run: bool) -> None:
    from heedful import loop as loop_module
    from heedful import recipes, settings

    values = settings.merge(recipes.find(recipe), settings.parse(words or []))
    config = settings.build(loop_module.LoopConfig, values, what="loop")
    if dry_run:
        typer.echo(config.model_dump_json(indent=1))
        return
    from heedful.engine import process

    process.prepare()
    loop_module.run(config)


def _stage(verb: str) -> Any:
    def command(recipe: Recipe, words: Words = None, dry_run: DryRun = False) -> None:
        from heedful import recipes, settings

        stage = import_module(f"heedful.stages.{verb}")
        values = settings.merge(recipes.find(recipe).get(verb, {}), settings.parse(words or []))
        values.setdefault("output", str(Path("runs") / verb))
        config = settings.build(getattr(stage, f"{verb.title()}Config"), values, what=verb)
        if dry_run:
            typer.echo(config.model_dump_json(indent=1))
            return
        from heedful.data import atomic
        from heedful.engine import process

        process.prepare()
        with atomic.lock(config.output):
            result = stage.main(config)
        typer.echo(_line(result))

    return command


def _line(result: dict[str, Any]) -> str:
    """A stage's result as one line: plain numbers only."""
    shown = {k: v for k, v in result.items() if isinstance(v, str | int | float)}
    return "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in shown.items())


HELP = {
    "tokenizer": "Train a byte-level BPE tokenizer on text.",
    "pretrain": "Train a base model from random weights on text.",
    "sft": "Fine-tune on dialogues; loss on the answers only.",
    "feedback": "Sample answers and have them judged; store every judgement.",
    "reward": "Train a reward model on comparisons.",
    "rl": "Improve the policy by PPO against the reward model.",
    "prefer": "Improve the policy by DPO on comparisons.",
    "evaluate": "Compare policies: win rates, KL, length, stopping, repetition.",
    "report": "Write report.html of a finished run.",
}
for _verb, _help in HELP.items():
    app.command(_verb, help=_help)(_stage(_verb))


@app.command()
def inspect(data: Path, tokenizer: str, rows: int = 3) -> None:
    """Show exactly which tokens of a data file are trained on."""
    from heedful.inspection import show

    show(data, tokenizer, rows)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"heedful {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; what the user can mend is one sentence and exit code 2."""
    try:
        app(standalone_mode=True)
    except UserError as error:
        sys.stderr.write(f"heedful: {error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("heedful: stopped; the same command continues\n")
        sys.exit(130)
