"""The whole loop: text -> base -> policy -> judgements -> reward model -> better policy -> figures, R rounds.

Stages meet on disk: this module only writes their configurations and hands on the paths of their results.
"""

import dataclasses
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from heedful import settings
from heedful.data import atomic, files, formats, verdicts
from heedful.data.rows import prompt_row
from heedful.engine import judges, record, terminal
from heedful.engine.judging import Judging
from heedful.engine.pairs import split
from heedful.engine.stage import StageConfig
from heedful.errors import UserError
from heedful.nn import hub
from heedful.stages import report
from heedful.types import Lang


class LoopConfig(BaseModel):
    """Where a loop starts and what it learns from; `STAGE.key=value` sets a stage's own settings.

    Without `model` a base model is pretrained on the built-in world. `data` are dialogues for fine-tuning
    (default: the chosen answers of `preferences`), `prompts` what the policy is asked, `test_prompts` what it is
    measured on (default: a tenth of the prompts), `preferences` what people have judged already, `judge` who
    judges new answers: `world`, `file.py:function`, `reward:MODEL`, `ai:MODEL`, or `self`, the policy itself. The
    last two are measured on the choices in `feedback.people` first. `lang` is the language of the built-in world, and
    of the principles by which a model is asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    output: Path = Path("runs/loop")
    seed: int = 0
    resume: bool = True
    rounds: int = Field(1, ge=1)
    lang: Lang = "en"
    model: str | None = None
    data: Path | None = None
    heldout: Path | None = None
    prompts: Path | None = None
    test_prompts: Path | None = None
    preferences: Path | None = None
    judge: str | None = None
    store: str | None = None
    skip: tuple[Literal["sft", "rl", "prefer"], ...] = ()
    world: dict[str, Any] = {}
    tokenizer: dict[str, Any] = {}
    pretrain: dict[str, Any] = {}
    sft: dict[str, Any] = {}
    feedback: dict[str, Any] = {}
    reward: dict[str, Any] = {}
    rl: dict[str, Any] = {}
    prefer: dict[str, Any] = {}
    evaluate: dict[str, Any] = {}
    report: dict[str, Any] = {}

    @model_validator(mode="after")
    def _stages_know_their_settings(self) -> Self:
        for name in STAGES:
            settings.check(_kind(name), getattr(self, name), what=name)
        return self


STAGES = ("world", "tokenizer", "pretrain", "sft", "feedback", "reward", "rl", "prefer", "evaluate", "report")


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What the rounds work from."""

    model: str
    data: Path
    heldout: Path | None
    prompts: Path
    test_prompts: Path
    preferences: Path | None
    judge: str | None


def run(config: LoopConfig) -> dict[str, Any]:
    """Run every stage that is not done yet; return the summary and print where the report is."""
    began = time.perf_counter()
    output = config.output
    _check(config)
    with atomic.lock(output):
        record.write(output, config)
        inputs = _from_world(config) if config.model is None else _from_files(config)
        policy = inputs.model
        if "sft" not in config.skip:
            given = {"model": inputs.model, "data": inputs.data, "heldout": inputs.heldout}
            _stage(config, "sft", output / "sft", given)
            policy = str(output / "sft" / "model")
        start = policy
        for number in range(1, config.rounds + 1):
            policy = _round(config, inputs, number, start, policy)
        result = _stage(config, "report", output, {"run": output, "command": record.command()})
        terminal.console.print(report.table(result))
    terminal.say(f"report     {output / 'report.html'}  ({time.perf_counter() - began:.0f} s)")
    return result


def _round(config: LoopConfig, inputs: Inputs, number: int, start: str, policy: str) -> str:
    """Collect, learn what is preferred, improve twice (RL and without), and return the policy that is promoted.

    The newest policy answers, but learning begins at the SFT model again in every round (Llama 2, section 3.2): what
    an earlier reward model taught wrongly is not inherited, and the KL is always to the same reference.
    """
    folder = config.output / f"round-{number}"
    preferences, whole = _collect(config, inputs, folder, number, policy)
    data: dict[str, Any] = {"model": start, "data": preferences}
    outside = judges.outside(inputs.judge)
    judged = {"judge": outside, "prompts": inputs.prompts} if outside else {}
    _stage(config, "reward", folder / "reward", {**data, "data": whole, **judged})
    reward = str(folder / "reward" / "model")
    models = {"sft": start} if start == policy else {"sft": start, "before": policy}
    if "prefer" not in config.skip:
        _stage(config, "prefer", folder / "prefer", data)
        models["prefer"] = str(folder / "prefer" / "model")
    if "rl" not in config.skip:
        # The world's judge costs nothing; one's own may cost more than all of RL's answers are worth.
        free = {"judge": "world"} if inputs.judge == "world" else {}
        given = {"model": start, "reward": reward, "prompts": inputs.prompts, **free}
        _stage(config, "rl", folder / "rl", given)
        models["rl"] = str(folder / "rl" / "model")
    result = _stage(
        config,
        "evaluate",
        folder / "evaluate",
        {
            "models": models,
            "prompts": inputs.test_prompts,
            "heldout": inputs.heldout,
            "judge": outside,
            "reward": reward,
            "judgements": None if outside else _unseen(config, folder, preferences),
        },
    )
    return models[result["promoted"]]


def _collect(config: LoopConfig, inputs: Inputs, folder: Path, number: int, policy: str) -> tuple[Path, Path]:
    """What to learn from, the files that were given and every round's judgements so far: pairs, and whole verdicts."""
    given_pairs = [inputs.preferences] if inputs.preferences else []
    folders: list[Path] = []
    if inputs.judge or _asks_people(config):
        store = config.store or str(config.output / "feedback.db")
        given = {
            "model": policy,
            "prompts": inputs.prompts,
            "store": store,
            "judge": inputs.judge,
            "lang": config.lang,
            "round": number,
            "reward_models": _earlier_reward_models(config, number),
        }
        _stage(config, "feedback", folder / "feedback", given)
        folders = [config.output / f"round-{r}" / "feedback" for r in range(1, number + 1)]
    pairs = [*given_pairs, *(f / "preferences.jsonl" for f in folders)]
    whole = [*given_pairs, *(f / "verdicts.jsonl" for f in folders)]
    if len(pairs) == 1:
        return pairs[0], whole[0]
    merged = folder / "preferences.jsonl", folder / "verdicts.jsonl"
    formats.write_preferences(merged[0], (p for s in pairs for p in formats.read_preferences(s)))
    verdicts.write_verdicts(merged[1], (v for s in whole for v in verdicts.read_verdicts(s)))
    return merged


def _unseen(config: LoopConfig, folder: Path, preferences: Path) -> Path:
    """The judgements that the round's reward model holds out, which say what people think where nobody judges."""
    kind: Any = _kind("reward")
    ratio = config.reward.get("heldout_ratio", kind.model_fields["heldout_ratio"].default)
    seed = config.reward.get("seed", config.seed)
    _, unseen = split(formats.read_preferences(preferences), ratio, seed)
    path = folder / "heldout_preferences.jsonl"
    formats.write_preferences(path, unseen)
    return path


def _asks_people(config: LoopConfig) -> bool:
    return config.feedback.get("source") in ("studio", "chat")


def _earlier_reward_models(config: LoopConfig, number: int) -> list[Path]:
    """What may disagree about new answers: the reward models of the rounds so far, where that is asked for."""
    studio = config.feedback.get("studio", {})
    if not _asks_people(config) or studio.get("choice") != "disagreement":
        return []
    return [config.output / f"round-{r}" / "reward" / "model" for r in range(1, number)]


def _from_world(config: LoopConfig) -> Inputs:
    """Write the built-in world's files and pretrain a base model on them."""
    output, world = config.output, config.output / "world"
    _stage(config, "world", world, {"lang": config.lang})
    text = world / "text.jsonl"
    # Without spaces between words a tokenizer cannot see where a name begins.
    words = {"words": world / "names.txt"} if config.lang == "zh" else {}
    _stage(config, "tokenizer", output / "tokenizer", {"data": text, **words})
    tokenizer = output / "tokenizer" / "tokenizer"
    given = {"data": text, "heldout": world / "heldout_text.jsonl", "tokenizer": tokenizer}
    _stage(config, "pretrain", output / "pretrain", given)
    return Inputs(
        model=str(output / "pretrain" / "model"),
        data=world / "demonstrations.jsonl",
        heldout=world / "heldout_demonstrations.jsonl",
        prompts=world / "prompts.jsonl",
        test_prompts=world / "test_prompts.jsonl",
        preferences=None,
        judge="world",
    )


def _check(config: LoopConfig) -> None:
    """Find what is wrong with the given files before anything is written or computed."""
    read = {
        "data": formats.read_conversations,
        "heldout": formats.read_conversations,
        "prompts": formats.read_prompts,
        "test_prompts": formats.read_prompts,
        "preferences": formats.read_preferences,
    }
    given = {name: path for name in read if (path := getattr(config, name)) is not None}
    if config.model is None:
        if given:
            raise UserError(f"loop needs the model that {next(iter(given))} is for: add model=DIR")
        return
    if config.prompts is None:
        raise UserError("loop needs prompts: add prompts=FILE.jsonl")
    if not (config.data or config.preferences or "sft" in config.skip):
        raise UserError(
            "loop needs dialogues to fine-tune on: add data=FILE or preferences=FILE, or skip=[sft]"
        )
    if not (config.judge or config.preferences or _asks_people(config)):
        raise UserError(
            "there is nothing to learn preferences from: give preferences=FILE, judge=..., "
            "or feedback.source=studio"
        )
    hub.load_tokenizer(config.model)
    hub.read_config(config.model)
    if config.judge:
        told = {"lang": config.lang, **config.feedback}
        how = Judging(**{name: told[name] for name in Judging.model_fields if name in told})
        judges.check(config.judge, policy=config.model, how=how)
    for name, path in given.items():
        read[name](path)


def _from_files(config: LoopConfig) -> Inputs:
    """The user's own model and files; prompts are split once if no test prompts are given."""
    assert config.model is not None
    assert config.prompts is not None
    prompts, test_prompts = config.prompts, config.test_prompts
    if test_prompts is None:
        known, unseen = split(formats.read_prompts(prompts), 0.1, config.seed)
        folder = config.output / "prompts"
        prompts, test_prompts = folder / "train.jsonl", folder / "test.jsonl"
        files.write_jsonl(prompts, map(prompt_row, known))
        files.write_jsonl(test_prompts, map(prompt_row, unseen))
    return Inputs(
        config.model,
        config.data or config.preferences or config.prompts,
        config.heldout,
        prompts,
        test_prompts,
        config.preferences,
        config.judge,
    )


def _kind(stage: str) -> type[StageConfig]:
    """The configuration class of a stage."""
    found: type[StageConfig] = getattr(import_module(f"heedful.stages.{stage}"), f"{stage.title()}Config")
    return found


def _stage(config: LoopConfig, name: str, folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Build the stage's configuration, run it unless it is done, print its one line of result."""
    module = import_module(f"heedful.stages.{name}")
    values = {"seed": config.seed, "resume": config.resume, **given, "output": folder}
    built = settings.build(_kind(name), settings.merge(values, getattr(config, name)), what=name)
    result: dict[str, Any] = module.main(built)
    terminal.say(f"{name:<10} {module.line(result)}  ({result['seconds']:.1f} s)")
    return result
