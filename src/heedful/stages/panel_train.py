"""Steps of stories -> a model that writes from panels and keeps them: two-part training in one pass."""

from pathlib import Path
from typing import Any

from pydantic import Field

from heedful.data import atomic, chat, files
from heedful.engine import tuning
from heedful.engine.batch import trained_tokens
from heedful.engine.panel_trees import Shares, trees
from heedful.engine.stage import Inputs, Stage
from heedful.engine.train import TrainingConfig, means, train
from heedful.engine.tuning import LoraConfig
from heedful.errors import UserError
from heedful.losses.supervised import next_token
from heedful.nn import hub
from heedful.panels.exchange import Step, step_of


class PanelTrainConfig(LoraConfig, TrainingConfig):
    """`data` and `heldout` are files of steps; the five shares say how often each part of a step is trained on.

    `text` goes on from the story's own newest text: with the others at 0, the control that sees no panel.
    """

    model: str
    data: Path
    heldout: Path
    write: float = Field(1.0, ge=0, le=1)
    update: float = Field(0.7, ge=0, le=1)
    plan: float = Field(0.5, ge=0, le=1)
    read: float = Field(0.5, ge=0, le=1)
    partial: float = Field(0.2, ge=0, le=1)
    text: float = Field(0.0, ge=0, le=1)
    learning_rate: float = Field(1e-3, gt=0)


PARTS = ("write", "update", "plan", "read", "text")


def main(config: PanelTrainConfig) -> dict[str, Any]:
    """Fine-tune and write the model to `output`/model; return the held-out loss of each part."""
    inputs: Inputs = {"model": config.model, "data": config.data, "heldout": config.heldout}
    stage = Stage("panel_train", config, inputs)
    if (done := stage.finished()) is not None:
        return done
    tokenizer = hub.load_tokenizer(config.model)
    chat.ensure_chat_template(tokenizer)
    model = tuning.load_start(config)
    steps, heldout = read_steps(config.data), read_steps(config.heldout)
    shares = Shares(config.write, config.update, config.plan, config.read, config.partial, config.text)
    found, too_long = trees(tokenizer, steps, shares, max_length=config.max_length, seed=config.seed)
    if not found:
        raise UserError(
            f"all {too_long} parts of steps are longer than max_length={config.max_length}: raise it"
        )
    for _ in train(stage, model, found, next_token, config):
        pass
    losses = {}
    for part in PARTS:
        one = Shares(**{name: float(name == part) for name in PARTS})
        test, _ = trees(tokenizer, heldout, one, max_length=config.max_length)
        if test:
            losses[f"heldout_loss_{part}"] = means(model, test, {"loss": next_token})["loss"]
    with atomic.new_folder(stage.folder / "model") as folder:
        hub.save_model(folder, model, tokenizer)
    return stage.finish(steps=len(steps), too_long=too_long, trained_tokens=trained_tokens(found), **losses)


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    losses = ", ".join(
        f"{part} {result[f'heldout_loss_{part}']:.3f}" for part in PARTS if f"heldout_loss_{part}" in result
    )
    left_out = f", {result['too_long']} parts longer than max_length left out" if result["too_long"] else ""
    return f"{result['steps']} steps{left_out}, held-out loss: {losses}"


def read_steps(path: Path) -> list[Step]:
    """The steps of a file."""
    return [step_of(row.data, row.where) for row in files.read_rows(path)]
