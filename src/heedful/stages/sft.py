"""Dialogues -> a policy: supervised fine-tuning, loss on the assistant's messages only."""

from pathlib import Path
from typing import Any

from pydantic import Field

from heedful.data import atomic, chat
from heedful.data.formats import read_conversations
from heedful.data.packing import shuffled
from heedful.engine.batch import trained_tokens
from heedful.engine.dialogues import conversations
from heedful.engine.precision import dtype
from heedful.engine.randomness import key
from heedful.engine.stage import Inputs, Stage
from heedful.engine.train import TrainingConfig, means, train
from heedful.losses.supervised import next_token
from heedful.nn import hub


class SftConfig(TrainingConfig):
    """`model` is a folder or hub name, `data` a file of conversations in any known format."""

    model: str
    data: Path
    heldout: Path | None = None
    heldout_ratio: float = Field(0.05, gt=0, lt=1)
    learning_rate: float = Field(1e-3, gt=0)


def main(config: SftConfig) -> dict[str, Any]:
    """Fine-tune and write the policy to `output`/model; return the held-out loss."""
    inputs: Inputs = {"model": config.model, "data": config.data, "heldout": config.heldout}
    stage = Stage("sft", config, inputs)
    if (done := stage.finished()) is not None:
        return done
    tokenizer = hub.load_tokenizer(config.model)
    chat.ensure_chat_template(tokenizer)
    model = hub.load_model(config.model, dtype=dtype(config.precision))
    trees, too_long = conversations(tokenizer, read_conversations(config.data), config.max_length)
    if config.heldout is not None:
        heldout, _ = conversations(tokenizer, read_conversations(config.heldout), config.max_length)
    else:
        order = shuffled(len(trees), key("heldout", config.seed), 0)
        cut = max(1, round(len(trees) * config.heldout_ratio))
        heldout, trees = [trees[i] for i in order[:cut]], [trees[i] for i in order[cut:]]
    for _ in train(stage, model, trees, next_token, config):
        pass
    loss = means(model, heldout, {"loss": next_token})["loss"]
    with atomic.new_folder(stage.folder / "model") as folder:
        hub.save_model(folder, model, tokenizer)
    return stage.finish(
        conversations=len(trees),
        too_long=too_long,
        trained_tokens=trained_tokens(trees),
        heldout_loss=loss,
        heldout_tokens=trained_tokens(heldout),
    )


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    return f"{result['conversations']} dialogues, held-out loss {result['heldout_loss']:.3f}"
