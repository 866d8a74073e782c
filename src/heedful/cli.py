"""The command line: a thin face on the stages. Nothing heavy is imported before a verb runs."""

import errno
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from heedful import __version__
from heedful.engine import allocator
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

ENVIRONMENT = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENFILE,
    errno.EMFILE,
    errno.ENOLCK,
}
"""Faults of disks and permissions: the user's to mend, not ours."""

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
        from heedful import loop as loop_module
        from heedful import recipes, settings

        stage = import_module(f"heedful.stages.{verb}")
        found = recipes.find(recipe)
        settings.check(loop_module.LoopConfig, found, what=f"recipe {recipe}")
        shared: dict[str, Any] = {name: found[name] for name in ("seed", "resume") if name in found}
        section = found.get(verb, {})  # a recipe's `judge` is a name, not the settings of the verb
        own: dict[str, Any] = section if isinstance(section, dict) else {}
        values = settings.merge(shared | own, settings.parse(words or []))
        values.setdefault("output", str(Path("runs") / verb))
        config = settings.build(getattr(stage, f"{verb.title()}Config"), values, what=verb)
        if dry_run:
            typer.echo(config.model_dump_json(indent=1))
            return
        from heedful.data import atomic
        from heedful.engine import process, record, terminal

        process.prepare()
        with atomic.lock(config.output):
            result = stage.main(config)
            if verb != "report":  # which lies with the run that it is about
                record.write(config.output, config)
        terminal.say(f"{verb:<10} {stage.line(result)}  ({result['seconds']:.1f} s)")

    return command


HELP = {
    "tokenizer": "Train a byte-level BPE tokenizer on text.",
    "pretrain": "Train a base model from random weights on text.",
    "sft": "Fine-tune on dialogues; loss on the answers only.",
    "feedback": "Sample answers and have them judged; store every judgement.",
    "reward": "Train a reward model on comparisons, rankings, ratings or steps.",
    "rl": "Improve the policy by PPO or GRPO against the reward model.",
    "prefer": "Improve the policy on comparisons, by DPO and its relatives.",
    "judge": "Let a model judge answers, measured against people first.",
    "revise": "Let a model criticise and revise its own answers.",
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


@app.command()
def selfcheck(
    model: str,
    words: Words = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check the engine's laws on your own model and machine."""
    import json

    from rich.console import Console

    from heedful import settings
    from heedful.engine import process
    from heedful.stages import selfcheck as stage

    values = {"model": model, **settings.parse(words or [])}
    config = settings.build(stage.SelfcheckConfig, values, what="selfcheck")
    process.prepare()
    result = stage.main(config)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        shown = (part(result, config.lang) for part in (stage.title, stage.table, stage.line))
        Console(highlight=False).print(*shown, sep="\n")
    raise typer.Exit(0 if result["passed"] else 1)


@app.command()
def doctor(
    words: Words = None,
    stage: Annotated[str | None, typer.Option(help="Predict memory and time of this stage.")] = None,
    model: Annotated[str | None, typer.Option(help="The model that the stage starts from.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What this machine gives, and what a stage will take."""
    from heedful.doctor import answer

    typer.echo(answer(words or [], stage, model, as_json=as_json))


@app.command()
def bench(
    words: Words = None,
    only: Annotated[str, typer.Option(help="Works to measure, e.g. sft,dpo.")] = "",
    compare: Annotated[str, typer.Option(help="An earlier summary.json: say what changed.")] = "",
    dry_run: DryRun = False,
) -> None:
    """Measure speed and memory against TRL on the same work."""
    from heedful import settings
    from heedful.bench.config import BenchConfig

    asked = {name: value for name, value in (("only", only), ("compare", compare)) if value}
    config = settings.build(BenchConfig, settings.merge(settings.parse(words or []), asked), what="bench")
    if dry_run:
        typer.echo(config.model_dump_json(indent=1))
        return
    from heedful.bench.main import main as measure

    measure(config)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"heedful {__version__}")
        raise typer.Exit


class Stopped(BaseException):
    """The process was asked to end."""


def main() -> None:
    """Run the command line; what the user can mend is one sentence and exit code 2."""
    signal.signal(signal.SIGTERM, _stop)
    allocator.keep_heap()
    try:
        code = app(standalone_mode=False)
    except Stopped:
        code = 128 + signal.SIGTERM
    except Exception as error:
        sentence = explained(error)
        if sentence is None:
            raise
        sys.stderr.write(sentence)
        sys.exit(2)
    if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        sys.stderr.write("heedful: stopped; the same command continues\n")
    sys.exit(code)


def _stop(number: int, frame: Any) -> None:
    raise Stopped


def explained(error: Exception) -> str | None:
    """One sentence about what the user can mend, or None for a fault of ours."""
    if isinstance(error, UserError):
        return f"heedful: {error}\n"
    if isinstance(error, OSError) and error.errno in ENVIRONMENT:
        where = f"'{error.filename}' cannot be used: " if error.filename else ""
        return f"heedful: {where}{error.strerror}; mend that, and the same command continues\n"
    # typer brings its own copy of click, or uses click itself: by version.
    if hasattr(error, "format_message"):
        message: str = error.format_message()
        if message.startswith("Usage"):
            return message + "\n"
        return f"heedful: {message[0].lower()}{message[1:].rstrip('.')}: see heedful --help\n"
    return None
