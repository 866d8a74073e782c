"""The built-in world's long stories -> files of steps with their true panels, and texts to begin with."""

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from heedful.data import files
from heedful.data.rows import prompt_row
from heedful.engine.stage import Stage, StageConfig
from heedful.panels import requests, text
from heedful.panels.exchange import Step, step_row
from heedful.tasks import panels
from heedful.types import Lang
from heedful.world import saga, saga_corpus
from heedful.world.languages import lexicon
from heedful.world.story import Split


class PanelWorldConfig(StageConfig):
    """How many stories are written out, and of how many passages each beside its opening."""

    lang: Lang = "en"
    stories: int = Field(1500, gt=1)
    test_stories: int = Field(40, gt=1)
    passages: int = Field(6, gt=0)
    documents: int = Field(10_000, gt=0)
    heldout_documents: int = Field(200, gt=0)


def main(config: PanelWorldConfig) -> dict[str, Any]:
    """Write steps, prompts that ask what a passage changed, and texts for a tokenizer and for a small base model."""
    stage = Stage("panel_world", config, {})
    if (done := stage.finished()) is not None:
        return done
    stage.begin()
    train = list(steps(config.lang, config.seed, config.stories, config.passages, "train"))
    test = list(steps(config.lang, config.seed, config.test_stories, config.passages, "test"))
    spoken = [
        t
        for s in train[:1000]
        for t in (s.passage, text.render(s.before), requests.patch_of(s.before, s.after))
    ]
    ask = requests.ASKING[config.lang]
    asked = [f"{ask.write}\n{ask.update}\n{ask.plan}"] * 20
    texts = saga_corpus.documents(config.lang, config.seed, config.documents, config.passages)
    heldout = saga_corpus.documents(
        config.lang, config.seed, config.heldout_documents, config.passages, "test"
    )
    names = [text for group in lexicon(config.lang).by_type.values() for text in group]
    folder = stage.folder
    return stage.finish(
        steps=files.write_jsonl(folder / "steps.jsonl", map(step_row, train)),
        test_steps=files.write_jsonl(folder / "test_steps.jsonl", map(step_row, test)),
        prompts=files.write_jsonl(folder / "prompts.jsonl", map(prompt_row, panels.prompts(train))),
        test_prompts=files.write_jsonl(folder / "test_prompts.jsonl", map(prompt_row, panels.prompts(test))),
        words=files.write_jsonl(
            folder / "words.jsonl", ({"text": t} for t in ["\n".join(names), *spoken, *asked])
        ),
        text=files.write_jsonl(folder / "text.jsonl", ({"text": t} for t in texts)),
        heldout_text=files.write_jsonl(folder / "heldout_text.jsonl", ({"text": t} for t in heldout)),
    )


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    return f"{result['steps']} steps to learn from, {result['test_steps']} to test on"


def steps(lang: Lang, seed: int, stories: int, passages: int, split: Split) -> Iterator[Step]:
    """The steps of the world's stories, each opening first."""
    for number in range(stories):
        for index, p in enumerate(saga.saga(lang, seed, number, passages, split)):
            yield Step(f"{split}-{number}", index, p.text, p.before, p.after, source="world")
