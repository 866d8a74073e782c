"""The built-in world -> files: texts, demonstrations and prompts, as a user's own data would lie there."""

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import Field

from heedful import world
from heedful.data import atomic, files
from heedful.data.rows import conversation_row, prompt_row
from heedful.engine.stage import Stage, StageConfig
from heedful.types import Lang


class WorldConfig(StageConfig):
    """How much of the world is written out."""

    lang: Lang = "en"
    documents: int = Field(16_000, gt=0)
    heldout_documents: int = Field(400, gt=0)
    demonstrations: int = Field(4000, gt=0)
    heldout_demonstrations: int = Field(400, gt=0)
    prompts: int = Field(4000, gt=0)
    test_prompts: int = Field(1100, gt=0)


def main(config: WorldConfig) -> dict[str, Any]:
    """Write text, demonstrations and prompts of both splits to `output`."""
    stage = Stage("world", config, {})
    if (done := stage.finished()) is not None:
        return done
    stage.begin()
    made = world.World(config.seed, config.lang)
    folder = stage.folder
    counts = {
        "text": texts(made.corpus(config.documents)),
        "heldout_text": texts(made.heldout(config.heldout_documents)),
        "demonstrations": map(conversation_row, made.demonstrations(config.demonstrations, seed=1)),
        "heldout_demonstrations": map(
            conversation_row, made.demonstrations(config.heldout_demonstrations, seed=2, split="test")
        ),
        "prompts": map(prompt_row, made.prompts(config.prompts, seed=3)),
        "test_prompts": map(prompt_row, made.prompts(config.test_prompts, seed=4, split="test")),
    }
    atomic.write_text(folder / "names.txt", "".join(f"{name}\n" for name in made.names))
    return stage.finish(**{n: files.write_jsonl(folder / f"{n}.jsonl", rows) for n, rows in counts.items()})


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    return f"{result['text']} texts, {result['demonstrations']} demonstrations, {result['prompts']} prompts"


def texts(documents: Iterable[str]) -> Iterator[dict[str, Any]]:
    for text in documents:
        yield {"text": text}
