"""A model -> better dialogues of its own: it answers, criticises the answer by a principle, and writes it anew."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from heedful.data import files, formats
from heedful.data.rows import conversation_row
from heedful.engine import terminal
from heedful.engine.policy import Policy
from heedful.engine.randomness import key
from heedful.engine.sampling import Sampling
from heedful.engine.stage import Inputs, Stage, StageConfig
from heedful.errors import UserError
from heedful.tasks import principles
from heedful.tasks.principles import Principles
from heedful.types import Conversation, Lang, Message, Preference, Prompt


class ReviseConfig(StageConfig):
    """`model` answers the `prompts`, then criticises and revises each answer `revisions` times, each time by one of
    the `principles` drawn at random (Bai et al. 2022, section 3, arXiv:2212.08073).
    """

    model: str
    prompts: Path
    principles: Path | None = None
    lang: Lang = "en"
    revisions: int = Field(1, ge=1, le=8)
    max_prompts: int = Field(1000, gt=0)
    temperature: float = Field(1.0, gt=0)
    max_completion_length: int = Field(64, gt=0)
    slots: int = Field(64, gt=0)


def main(config: ReviseConfig) -> dict[str, Any]:
    """Write `output`/revisions.jsonl for `sft`, preferences.jsonl (revised over first answer), and what was said."""
    inputs: Inputs = {"model": config.model, "prompts": config.prompts, "principles": config.principles}
    stage = Stage("revise", config, inputs)
    if (done := stage.finished()) is not None:
        return done
    words = principles.read(config.principles, config.lang)
    if not (words.critique and words.revise and all(p.critique for p in words.principles)):
        raise UserError(
            "these principles say how to compare answers only: add critique and revise, see docs/judge.md"
        )
    policy = Policy.load(config.model)
    prompts = policy.fitting(formats.read_prompts(config.prompts), config.max_completion_length)
    prompts = prompts[: config.max_prompts]
    texts = answered(config, policy, prompts, "answer")
    first = list(texts)
    said: list[list[dict[str, str]]] = [[] for _ in prompts]
    with terminal.progress("revise", config.revisions) as advance:
        for turn in range(config.revisions):
            drawn = [
                words.principles[key("principle", config.seed, turn, p.id) % len(words.principles)]
                for p in prompts
            ]
            critiques = answered(
                config,
                policy,
                [
                    asked(p, words.criticism(p.messages, t, d))
                    for p, t, d in zip(prompts, texts, drawn, strict=True)
                ],
                f"critique {turn}",
            )
            texts = revised(config, policy, words, prompts, texts, critiques, turn)
            for row, principle, critique, text in zip(said, drawn, critiques, texts, strict=True):
                row.append({"principle": principle.name, "critique": critique, "revision": text})
            advance(turn + 1)
    stage.begin()
    return stage.finish(**written(stage.folder, config, prompts, first, texts, said))


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    return f"{result['dialogues']} revised answers, {result['changed']} of them changed"


def revised(
    config: ReviseConfig,
    policy: Policy,
    words: Principles,
    prompts: Sequence[Prompt],
    texts: Sequence[str],
    critiques: Sequence[str],
    turn: int,
) -> list[str]:
    """Each answer anew; where nothing comes of it, the answer stays."""
    requests = [
        asked(p, words.revision(p.messages, text, critique))
        for p, text, critique in zip(prompts, texts, critiques, strict=True)
    ]
    found = answered(config, policy, requests, f"revision {turn}")
    return [new or old for new, old in zip(found, texts, strict=True)]


def answered(config: ReviseConfig, policy: Policy, prompts: Sequence[Prompt], what: str) -> list[str]:
    """One sampled text each."""
    how = Sampling(config.max_completion_length, config.temperature)
    found = policy.answer(prompts, how, seed=(config.seed, "revise", what), slots=config.slots)
    return [a.texts[0] for a in found]


def asked(prompt: Prompt, messages: tuple[Message, ...]) -> Prompt:
    """A request about a prompt's answer; its random numbers hang on the prompt."""
    return Prompt(prompt.id, messages)


def written(
    folder: Path,
    config: ReviseConfig,
    prompts: Sequence[Prompt],
    first: Sequence[str],
    last: Sequence[str],
    said: Sequence[list[dict[str, str]]],
) -> dict[str, int]:
    """The files of the stage, and how much there is in them."""
    rows = list(zip(prompts, first, last, strict=True))
    dialogues = [
        Conversation((*p.messages, Message("assistant", text)), source="revised")
        for p, _, text in rows
        if text
    ]
    changed = [
        Preference(p.messages, new, old, source="revised")
        for p, old, new in rows
        if new and old and new != old
    ]
    files.write_jsonl(folder / "revisions.jsonl", map(conversation_row, dialogues))
    formats.write_preferences(folder / "preferences.jsonl", changed)
    steps = (
        {"id": p.id, "answer": old, "turns": turns} for (p, old, _), turns in zip(rows, said, strict=True)
    )
    files.write_jsonl(folder / "said.jsonl", steps)
    return {"dialogues": len(dialogues), "changed": len(changed)}
