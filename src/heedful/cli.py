"""The command line: a thin face on the stages. Nothing heavy is imported before a verb runs."""

import errno
import os
import signal
import sys
from contextlib import nullcontext
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


def _list_settings(context: typer.Context, wanted: bool) -> None:
    if not wanted:
        return
    from inspect import getdoc

    from heedful import described

    verb = context.command_path.removeprefix(context.find_root().command_path).strip()
    config = config_of(verb)
    typer.echo(f"Settings of `heedful {verb}`, written as key=value:\n")
    typer.echo(described.listed(config, {"output": _output(verb)}))
    typer.echo(f"\n{getdoc(config)}")
    raise typer.Exit


Recipe = Annotated[str, typer.Argument(help="A built-in recipe (demo, local) or a YAML file.")]
Words = Annotated[list[str] | None, typer.Argument(help="Settings: key=value ...", metavar="[KEY=VALUE]...")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the resolved configuration and stop.")]
Listing = Annotated[
    bool,
    typer.Option(
        "--settings", help="List all settings with their defaults.", is_eager=True, callback=_list_settings
    ),
]


@app.command()
def demo(words: Words = None, dry_run: DryRun = False, listing: Listing = False) -> None:
    """The whole loop on the built-in world, on a CPU."""
    _loop("demo", words, dry_run)


@app.command()
def loop(recipe: Recipe, words: Words = None, dry_run: DryRun = False, listing: Listing = False) -> None:
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


def _stage(verb: str, shown: str = "") -> Any:
    shown = shown or verb

    def command(
        recipe: Recipe, words: Words = None, dry_run: DryRun = False, listing: Listing = False
    ) -> None:
        from heedful import loop as loop_module
        from heedful import recipes, settings

        if verb == "feedback" and _done_as_feedback_verb(recipe, words or []):
            return
        name = verb.replace("-", "_")
        stage = import_module(f"heedful.stages.{name}")
        found = recipes.find(recipe)
        settings.check(loop_module.LoopConfig, found, what=f"recipe {recipe}")
        shared: dict[str, Any] = {key: found[key] for key in ("seed", "resume") if key in found}
        section = found.get(name, {})  # a recipe's `judge` is a name, not the settings of the verb
        own = section if isinstance(section, dict) else {}
        values = settings.merge(shared | own, settings.parse(words or []))
        values.setdefault("output", _output(shown))
        config = settings.build(getattr(stage, config_name(name)), values, what=shown)
        if dry_run:
            typer.echo(config.model_dump_json(indent=1))
            return
        from heedful.data import atomic
        from heedful.engine import process, ranks, record, terminal

        process.prepare()
        with atomic.lock(config.output) if ranks.first() else nullcontext():
            result = stage.main(config)
            if verb != "report":  # which lies with the run that it is about
                record.write(config.output, config)
        terminal.say(f"{shown:<10} {stage.line(result)}  ({result['seconds']:.1f} s)")

    return command


def _output(verb: str) -> str:
    """Where a verb writes unless it is told."""
    return str(Path("runs") / verb.replace(" ", "_"))


def config_name(verb: str) -> str:
    """The name of a stage's configuration: PanelStudyConfig for panel_study."""
    return f"{verb.title().replace('_', '')}Config"


def stage_config(name: str) -> Any:
    """A stage's configuration class."""
    name = name.replace("-", "_").replace(" ", "_")
    return getattr(import_module(f"heedful.stages.{name}"), config_name(name))


def config_of(verb: str) -> Any:
    """The configuration that a verb's key=value words fill; None where there are none, or they are a stage's."""
    places = {"demo": "loop", "loop": "loop", "bench": "bench.config", "serve": "serve.config"}
    if verb in places:
        name = "loop" if verb == "demo" else verb
        return getattr(import_module(f"heedful.{places[verb]}"), config_name(name))
    return stage_config(verb) if verb in HELP or verb.startswith("panel ") or verb == "selfcheck" else None


def _done_as_feedback_verb(first: str, words: list[str]) -> bool:
    """`heedful feedback export ...` and the like, which work on a store and need no model."""
    from heedful import feedback_verbs

    verb = feedback_verbs.find(first)
    if verb is not None:
        typer.echo(feedback_verbs.run(verb, words))
    return verb is not None


HELP = {
    "tokenizer": "Train a byte-level BPE tokenizer on text.",
    "pretrain": "Train a base model from random weights on text.",
    "sft": "Fine-tune on dialogues; loss on the answers only.",
    "feedback": "Sample answers and have them judged; work on a store.",
    "reward": "Train a reward model on comparisons, ratings or steps.",
    "rl": "Improve the policy against a reward: REINFORCE to PPO and GRPO.",
    "prefer": "Improve the policy on comparisons, by DPO and its relatives.",
    "best-of": "Best of n by reward; rejection sampling and expert iteration.",
    "distill": "Train a student on its teacher's distributions or answers.",
    "judge": "Let a model judge answers, measured against people first.",
    "revise": "Let a model criticise and revise its own answers.",
    "write": "Write a long text step by step, its panel beside it.",
    "evaluate": "Compare policies: win rates, KL, length, stopping, repetition.",
    "report": "Write report.html of a finished run.",
}
for _verb, _help in HELP.items():
    app.command(_verb, help=_help)(_stage(_verb))

PANEL_HELP = {
    "world": "Write out the built-in world's long stories with their true panels.",
    "extract": "Read a book into panels, passage by passage.",
    "train": "Fine-tune on steps: write from the panel, update the panel, plan.",
    "study": "Measure what panels give: loss by arm, nats by field, controls.",
    "stories": "Write long stories with and without panels; count contradictions.",
}
panel_app = typer.Typer(help="Contextual panels: writing from assigned materials.", no_args_is_help=True)
for _verb, _help in PANEL_HELP.items():
    panel_app.command(_verb, help=_help)(_stage(f"panel_{_verb}", f"panel {_verb}"))
app.add_typer(panel_app, name="panel", rich_help_panel=None)


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
    listing: Listing = False,
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
    listing: Listing = False,
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


@app.command()
def studio(
    store: Annotated[
        str, typer.Argument(help="The feedback store: a file, or a postgresql:// URL.")
    ] = "feedback.db",
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="The port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 8420,
    origin: Annotated[str, typer.Option(help="What browsers call the studio, behind a proxy.")] = "",
    certificate: Annotated[Path | None, typer.Option(help="A TLS certificate (PEM), to serve https.")] = None,
    key: Annotated[Path | None, typer.Option(help="The certificate's private key (PEM).")] = None,
    language: Annotated[str, typer.Option(help="en or zh, where a browser asks for neither.")] = "en",
    model: Annotated[
        list[str] | None, typer.Option(help="A model's folder, or the address of a server; may be repeated.")
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(help="Personal data to mask: email, id, phone, none, or NAME=REGEX; may be repeated."),
    ] = None,
) -> None:
    """Serve the pages where people judge, on a feedback store."""
    from heedful.web.serve import language_of, serve

    serve(
        store.removeprefix("store="),
        host=host,
        port=port,
        origin=origin,
        certificate=certificate,
        key=key,
        language=language_of(language),
        models=model or [],
        mask=mask or [],
    )


@app.command()
def serve(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            help="A model's folder, and settings: key=value ...", metavar="[MODEL] [KEY=VALUE]..."
        ),
    ] = None,
    reward: Annotated[str, typer.Option(help="A reward model's folder: scores, ranks, best-of-n.")] = "",
    engine: Annotated[str, typer.Option(help="heedful or vllm.")] = "",
    dry_run: DryRun = False,
    listing: Listing = False,
) -> None:
    """Serve a model, a reward model or both over OpenAI's API."""
    from heedful import settings
    from heedful.serve.config import ServeConfig

    given = list(words or [])
    model = {"model": given.pop(0)} if given and "=" not in given[0] else {}
    asked = {name: value for name, value in (("reward", reward), ("engine", engine)) if value}
    config = settings.build(ServeConfig, settings.merge(settings.parse(given), model | asked), what="serve")
    if dry_run:
        typer.echo(config.model_dump_json(indent=1, exclude={"api_key"}))
        return
    from heedful.engine import process
    from heedful.serve.main import main as listen

    process.prepare()
    listen(config)


IN_SEVERAL = ("pretrain", "sft", "reward", "prefer")
"""The verbs that several processes share."""


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    processes: Annotated[
        int, typer.Option(help="Train in so many processes on this machine: see docs/cluster.md.", min=1)
    ] = 1,
) -> None:
    if version:
        typer.echo(f"heedful {__version__}")
        raise typer.Exit
    verb = context.invoked_subcommand
    if (processes > 1 or _of_several()) and verb not in IN_SEVERAL:
        raise UserError(
            f"heedful {verb} runs in one process: {', '.join(IN_SEVERAL[:-1])} and {IN_SEVERAL[-1]} train in several"
        )
    if processes > 1:
        if _of_several():
            raise UserError("torchrun starts the processes already: leave out --processes")
        from heedful.engine.launch import launch

        raise typer.Exit(launch(processes, sys.argv[sys.argv.index(str(verb)) :]))


def _of_several() -> bool:
    """Whether torchrun, or `launch`, has started this process beside others."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


class Stopped(BaseException):
    """The process was asked to end."""


def main() -> None:
    """Run the command line; what the user can mend is one sentence and exit code 2."""
    signal.signal(signal.SIGTERM, _stop)
    allocator.keep_heap()
    try:
        if _of_several():
            _join()
        code = app(standalone_mode=False)
    except Stopped:
        code = 128 + signal.SIGTERM
    except Exception as error:
        sentence = explained(error)
        if sentence is None:
            raise
        _complain(sentence)
        sys.exit(2)
    if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        _complain("heedful: stopped; the same command continues\n")
    sys.exit(code)


def _join() -> None:
    """Meet the other processes; the first one speaks for all."""
    from heedful.engine import ranks, terminal

    ranks.join()
    if not ranks.first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        terminal.console.quiet = True


def _complain(sentence: str) -> None:
    """Say it on standard error, unless another process of this run has said why it ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is ending
    if _of_several():
        from heedful.engine import ranks

        if not ranks.first_to_speak():
            return
    sys.stderr.write(sentence)


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
        command = getattr(getattr(error, "ctx", None), "command_path", "heedful")
        return f"heedful: {message[0].lower()}{message[1:].rstrip('.')}: see {command} --help\n"
    return None
