"""What a stage works on: tokens of its rows and steps, from its settings and, where it exists, its data."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heedful.data import chat
from heedful.data.formats import read_conversations, read_prompts, read_texts
from heedful.data.packing import pack
from heedful.data.solutions import read_solutions
from heedful.data.verdicts import read_verdicts
from heedful.engine import dialogues, judgements, train
from heedful.engine.batch import Tree
from heedful.engine.process_reward import solution_trees
from heedful.engine.rehearsal import Shape
from heedful.engine.verdict_trees import learnt_from
from heedful.losses import find
from heedful.nn import hub

SCORED = 16384
"""Tokens of a row that is computed without gradient: the default `token_budget` of `engine.score` and `means`."""


@dataclass(frozen=True)
class Sizes:
    """What a stage works on: tokens in the largest rows and in an average step, and how many steps there are.

    `shapes` are typical examples. In `rl` a step is an iteration: `answer` tokens for each of `waves` of prompts,
    scored once and trained on `epochs` times.
    """

    shapes: tuple[Shape, ...]
    row: int
    step: float
    scored: int
    steps: int | None = None
    answer: int = 0
    waves: int = 1
    epochs: int = 1
    updates: int = 1


def sizes_of(stage: str, settings: dict[str, Any], model: str) -> Sizes:
    """What a stage will work on: measured on its data where that exists, assumed from its settings otherwise."""
    if stage == "rl":
        return rl_sizes(settings, model)
    budget, scored = settings["token_budget"], SCORED
    trees = trees_of(stage, settings, model)
    if trees is None:
        length = settings["max_length"]
        step = settings["tokens_per_step"]
        shapes: tuple[Shape, ...] = ((length // 2, (length // 2,) * (1 if stage == "sft" else 2)),)
        if stage == "pretrain":
            shapes = ((1, (length - 1,)),)
        return Sizes(shapes, min(budget, step), step, scored)
    order = train.plan(
        trees,
        tokens_per_step=settings["tokens_per_step"],
        epochs=settings["epochs"],
        seed=settings["seed"],
        shuffle=settings["shuffle"],
    )
    sizes = [t.size for t in trees]
    rows = [packed_sizes([sizes[i] for i in chosen], budget) for chosen in order]
    whole = sum(sizes)
    heldout = whole if stage == "prefer" else settings.get("heldout_ratio", 0.05) * whole
    return Sizes(
        shapes=tuple(shape_of(trees[i]) for i in order[0])[:64],
        row=max(map(max, rows)),
        step=float(np.mean([sum(row) for row in rows])),
        scored=int(min(scored, whole if stage == "reward" else max(heldout, max(sizes)))),
        steps=len(order),
    )


def rl_sizes(settings: dict[str, Any], model: str) -> Sizes:
    """An iteration: prompts as the file has them (64 tokens without one), every answer as long as it may be."""
    prompts = [64]
    if Path(settings["prompts"]).is_file():
        tokenizer = tokenizer_of(model)
        found = read_prompts(Path(settings["prompts"]))[:512]
        prompts = [len(chat.render_prompt(tokenizer, p.messages)) for p in found]
    answer, n = settings["max_completion_length"], settings["num_generations"]
    step = settings["prompts_per_step"] * (float(np.mean(prompts)) + n * answer)
    part = step / settings["num_mini_batches"]
    micro = math.ceil(part / settings["token_budget"])
    return Sizes(
        shapes=tuple((p, (answer,) * n) for p in prompts[:64]),
        row=round(part / micro) if micro == 1 else settings["token_budget"],
        step=step,
        scored=round(min(SCORED, step)),
        steps=settings["iterations"],
        answer=answer,
        waves=math.ceil(settings["prompts_per_step"] / settings["slots"]),
        epochs=settings["num_ppo_epochs"],
        updates=settings["num_ppo_epochs"] * settings["num_mini_batches"],
    )


def trees_of(stage: str, settings: dict[str, Any], model: str) -> list[Tree] | None:
    """The stage's examples, or None where its data does not exist."""
    data = Path(settings["data"])
    if not data.is_file():
        return None
    tokenizer = tokenizer_of(str(settings["tokenizer"]) if stage == "pretrain" else model)
    if stage == "pretrain":
        return dialogues.documents(tokenizer, read_texts(data), settings["max_length"])
    if stage == "sft":
        return dialogues.conversations(tokenizer, read_conversations(data), settings["max_length"])[0]
    if stage == "reward":
        return judged_trees(tokenizer, data, settings)
    return preferred_trees(tokenizer, data, settings)


def preferred_trees(tokenizer: Any, data: Path, settings: dict[str, Any]) -> list[Tree]:
    """What a policy learns from under the loss that the settings name."""
    loss, seed = find.find(settings["loss"]), settings["seed"]
    known, _ = judgements.read(loss, data, settings["heldout_ratio"], seed)
    names = ("max_length", "borrowed", "step_separator", "seed")
    return judgements.material(tokenizer, known, **{name: settings[name] for name in names}).trees


def judged_trees(tokenizer: Any, data: Path, settings: dict[str, Any]) -> list[Tree]:
    """What a reward model learns from under the objective that the settings name."""
    if settings["objective"] == "process":
        found = read_solutions(data)
        separator = settings["step_separator"]
        return solution_trees(tokenizer, found, settings["max_length"], separator=separator).trees
    return learnt_from(tokenizer, read_verdicts(data), settings["max_length"], settings["objective"]).trees


def tokenizer_of(source: str) -> Any:
    tokenizer = hub.load_tokenizer(source)
    chat.ensure_chat_template(tokenizer)
    return tokenizer


def shape_of(tree: Tree) -> Shape:
    """Untrained tokens and answers of an example."""
    if tree.branches:
        return len(tree.prompt.ids), tuple(len(b.ids) for b in tree.branches)
    trained = int(tree.prompt.trained.sum())
    return len(tree.prompt.ids) - trained, (trained,)


def packed_sizes(sizes: list[int], budget: int) -> list[int]:
    """Tokens of the rows that examples of these sizes are packed into."""
    return [sum(sizes[i] for i in bin_) for bin_ in pack(sizes, budget)]
