"""The arms of a panel study: the same passages learnt from a panel, from text, and from panels that say nothing."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from torch import nn

from heedful.data.packing import shuffled
from heedful.engine import panel_trees, terminal
from heedful.engine.batch import Tree, plain, prompt_node
from heedful.engine.fit import fit
from heedful.engine.optim import schedule
from heedful.engine.panel_trees import Shares
from heedful.engine.randomness import key
from heedful.engine.train import TrainingConfig, new_optimizer, packed
from heedful.errors import UserError
from heedful.losses.supervised import next_token
from heedful.panels.exchange import Step
from heedful.panels.panel import Panel

Arm = Literal["panel", "text", "shuffled", "fixed"]
ARMS: tuple[Arm, ...] = ("panel", "text", "shuffled", "fixed")


def stories(steps: Sequence[Step]) -> list[list[Step]]:
    """Steps by story, in order."""
    found: dict[str, list[Step]] = {}
    for step in steps:
        found.setdefault(step.story, []).append(step)
    return [sorted(row, key=lambda s: s.index) for row in found.values()]


def strangers(steps: Sequence[Step], seed: int) -> list[Step]:
    """The same passages, each with the panel of another story's step that has a plan too."""
    written = [s for s in steps if s.before.plan]
    if len({s.story for s in written}) < 2:
        raise UserError("the shuffled control needs steps of at least two stories: give more stories")
    found = []
    for step in written:
        turn = key("stranger", seed, step.story, step.index) % len(written)
        while written[turn].story == step.story:
            turn = (turn + 1) % len(written)
        other = written[turn].before
        found.append(Step(step.story, step.index, step.passage, other, step.after))
    return found


def trees_of(
    arm: Arm,
    tokenizer: Any,
    steps: Sequence[Step],
    shares: Shares,
    *,
    constant: Panel,
    seed: int,
    max_length: int,
    window: int,
) -> tuple[list[Tree], int]:
    """What an arm makes of the steps in one pass, and how many parts were longer than `max_length`.

    Such parts are left out, but for plain text, which is cut. `constant` is what the arm `fixed` shows for all.
    """
    if arm == "text":
        rows = []
        for row in stories(steps):
            told = [s.passage for s in row]
            cut = key("cut", seed, row[0].story) % len(told)  # windows begin elsewhere in each pass
            for part in (told[:cut], told[cut:]):
                rows += panel_trees.windows(tokenizer, part, tokens=window)
        return [plain(ids[:max_length]) for ids in rows], sum(len(ids) > max_length for ids in rows)
    if arm == "panel":
        return panel_trees.trees(tokenizer, steps, shares, max_length=max_length, seed=seed)
    shown = strangers(steps, seed)
    panels = [constant] * len(shown) if arm == "fixed" else [s.before for s in shown]
    # One tree a passage, though a fixed panel could be shared: the control is to cost what it is compared with.
    asked = [
        panel_trees.dialogue(tokenizer, s, p, write=True, update=False)
        for s, p in zip(shown, panels, strict=True)
    ]
    found = [Tree(prompt_node(p), (node,)) for p, node in asked if len(p) + len(node.ids) <= max_length]
    return found, len(asked) - len(found)


def fixed(steps: Sequence[Step]) -> Panel:
    """One panel for every passage: as long as a panel, and without news of any."""
    return next(s.before for s in steps if s.before.plan)


def stream(passes: Iterator[list[Tree]], *, tokens: int, seed: int) -> list[Tree]:
    """Trees in a fresh order each pass, until `tokens` are reached."""
    found: list[Tree] = []
    size = 0
    for number, trees in enumerate(passes):
        for i in shuffled(len(trees), key("study", seed), number):
            if size >= tokens:
                return found
            found.append(trees[i])
            size += trees[i].size
    return found


def learn(
    model: nn.Module, trees: Sequence[Tree], config: TrainingConfig, name: str
) -> tuple[int, list[float]]:
    """Fit a model to trees in the order given; how many tokens it was computed on, and its loss in each tenth."""
    ends = np.cumsum([t.size for t in trees])
    cuts = np.flatnonzero(np.diff((ends - 1) // config.tokens_per_step)) + 1
    order = np.split(np.arange(len(trees)), cuts)
    factor = schedule(config.lr_scheduler, steps=len(order), warmup=round(config.warmup_ratio * len(order)))
    budget = max(config.token_budget, max(t.size for t in trees))
    losses = []
    with terminal.progress(name, len(order)) as advance:
        for step in fit(
            model,
            packed(trees, order, budget),
            next_token,
            new_optimizer(model, config),
            learning_rate_factor=factor,
            max_grad_norm=config.max_grad_norm,
        ):
            losses.append(step.loss)
            advance(step.number + 1, f"loss {step.loss:.3f}  {step.tokens / step.seconds:,.0f} tok/s")
    return int(ends[-1]), [float(part.mean()) for part in np.array_split(losses, min(10, len(losses)))]
