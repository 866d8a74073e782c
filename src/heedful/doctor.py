"""The verb `doctor`: a stage's settings as its own verb takes them, handed to the planner."""

import json
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel

from heedful import settings
from heedful.engine import checkup, machine, planner
from heedful.errors import UserError, nearest
from heedful.nn import hub


def answer(words: list[str], stage: str | None, model: str | None, *, as_json: bool) -> str:
    """What `heedful doctor` prints."""
    if stage is None:
        if words or model:
            raise UserError(f"settings are those of a stage: add --stage, one of {', '.join(planner.STAGES)}")
        found = checkup.examined()
        return json.dumps(found, indent=1) if as_json else checkup.table(found)
    if stage not in planner.STAGES:
        hint = nearest(stage, planner.STAGES) or f" Known: {', '.join(planner.STAGES)}."
        raise UserError(f"there is no forecast for '{stage}'.{hint}")
    forecast = forecast_of(stage, words, model)
    if as_json:
        return json.dumps(checkup.record(forecast), indent=1)
    return checkup.planned(forecast, machine.memory())


def forecast_of(stage: str, words: list[str], model: str | None) -> planner.Forecast:
    """The forecast of a stage with these settings; what it requires and is not given is assumed."""
    kind: type[BaseModel] = getattr(import_module(f"heedful.stages.{stage}"), f"{stage.title()}Config")
    given = settings.parse(words)
    if stage != "pretrain":
        given = {"model": model, **given} if model else given
        if "model" not in given:
            raise UserError(f"a forecast of {stage} needs a model: add --model FOLDER")
    required = {name for name, field in kind.model_fields.items() if field.is_required()}
    config = settings.build(kind, {**dict.fromkeys(required, "-"), **given}, what=stage)
    values = config.model_dump(mode="json")
    if stage != "pretrain":
        return planner.forecast(stage, values, model=values["model"])
    if not Path(values["tokenizer"]).is_dir():
        raise UserError("a forecast of pretrain needs a tokenizer: add tokenizer=FOLDER")
    with TemporaryDirectory() as folder:
        shape_of(values).save_pretrained(folder)
        return planner.forecast(stage, values, model=folder)


def shape_of(values: dict[str, Any]) -> Any:
    """The configuration of the model that `pretrain` would make."""
    tokenizer = hub.load_tokenizer(values["tokenizer"])
    return hub.llama_config(
        vocab_size=len(tokenizer),
        hidden_size=values["hidden_size"],
        layers=values["layers"],
        heads=values["heads"],
        max_length=values["max_length"],
        attention_bias=values["attention_bias"],
        bos=0,
        eos=0,
        pad=0,
    )
