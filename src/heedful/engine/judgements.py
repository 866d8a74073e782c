"""Judgements in the form that a loss asks for: pairs, all answers of a prompt side by side, or answers one by one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from heedful.data.formats import read_preferences
from heedful.data.rated import read_rated
from heedful.data.solutions import holds_solutions, read_solutions
from heedful.engine import pairs, unpaired
from heedful.engine.batch import Tree
from heedful.engine.score import use_packed_attention
from heedful.engine.step_pairs import compared_steps
from heedful.engine.train import means
from heedful.losses import bind, preference, watched
from heedful.losses.bind import Loss
from heedful.losses.unpaired import agrees
from heedful.types import Preference, Rated, Solution

Rows = list[Preference] | list[Rated] | list[Solution]


@dataclass(frozen=True)
class Material:
    """Trees to learn from or to measure on; for losses of single answers, each prompt with answers to another too."""

    trees: list[Tree]
    too_long: int
    mismatched: list[Tree] | None = None

    def referred(self, reference: Any, cache: Path | None) -> "Material":
        """The same with the log-probs that `reference` has now."""
        use_packed_attention(reference)
        mismatched = self.mismatched and pairs.with_reference(reference, self.mismatched, cache=cache)
        trees = pairs.with_reference(reference, self.trees, cache=cache)
        return replace(self, trees=trees, mismatched=mismatched)

    def prepared(self, model: Any, trees: Sequence[Tree], numbers: Sequence[int]) -> Sequence[Tree]:
        """The trees of a step as they are trained on: with KTO's baseline, as the model is now."""
        if self.mismatched is None:
            return trees
        return unpaired.with_baseline(model, trees, [self.mismatched[i] for i in numbers])


def single_answers(loss: Loss) -> bool:
    """Whether a loss learns from answers one by one, not from comparisons."""
    return bind.unit(loss) == "sequence"


def read(loss: Loss, data: Path, heldout_ratio: float, seed: int) -> tuple[Rows, Rows]:
    """The judgements in `data`, split by prompt: (learnt from, held out). Labelled steps are known by their columns."""
    if single_answers(loss):
        return pairs.split(read_rated(data), heldout_ratio, seed)
    if holds_solutions(data):
        return pairs.split(read_solutions(data), heldout_ratio, seed)
    return pairs.split(read_preferences(data), heldout_ratio, seed)


def material(
    tokenizer: Any, rows: Rows, *, max_length: int, borrowed: int, step_separator: str, seed: int
) -> Material:
    """Judgements as trees; `borrowed` best answers to other prompts join those of each prompt."""
    if rated := [r for r in rows if isinstance(r, Rated)]:
        found = unpaired.labelled(tokenizer, rated, max_length, seed)
        return Material(found.trees, found.too_long, found.mismatched)
    if steps := [r for r in rows if isinstance(r, Solution)]:
        compared = compared_steps(tokenizer, steps, max_length, separator=step_separator)
    else:
        compared = pairs.compared(tokenizer, [r for r in rows if isinstance(r, Preference)], max_length)
    return Material(pairs.ranked(pairs.borrow(compared.trees, borrowed, seed)), compared.too_long)


def needs_reference(loss: Loss) -> bool:
    """Whether a loss names the reference's log-probs."""
    return any(bind.quantity(name) == "ref_logp" for name in bind.columns(loss))


def watch(loss: Loss, beta: float) -> dict[str, Loss]:
    """What is logged of each step beside the loss, under the names that TRL uses."""
    if single_answers(loss):
        return {"rewards/accuracies": agrees, "kl": watched.baseline, "log_ratio": watched.log_ratio}
    seen: dict[str, Loss] = {"logps/chosen": watched.chosen_logp, "logps/rejected": watched.rejected_logp}
    if not needs_reference(loss):
        return {"rewards/accuracies": watched.likelier, **seen}
    return {
        "rewards/accuracies": preference.accuracy,
        "rewards/chosen": partial(watched.chosen_reward, beta=beta),
        "rewards/rejected": partial(watched.rejected_reward, beta=beta),
        "rewards/margins": partial(watched.reward_margin, beta=beta),
        **seen,
    }


def measured(model: Any, loss: Loss, unseen: Material) -> dict[str, float]:
    """What is measured on held-out judgements after training, in nats of an answer's log-prob where it is no share."""
    heldout = unseen.prepared(model, unseen.trees, range(len(unseen.trees)))
    found: dict[str, Loss] = {"heldout_loss": loss}
    if single_answers(loss):
        figures = means(model, heldout, {**found, "heldout_accuracy": agrees, "log_ratio": watched.log_ratio})
        parts = {"chosen_drift": _called(heldout, 1.0), "rejected_drift": _called(heldout, 0.0)}
        drifts = {n: means(model, t, {n: watched.log_ratio}) for n, t in parts.items() if t}
        return figures | {name: drift[name] for name, drift in drifts.items()}
    return means(
        model,
        heldout,
        {
            **found,
            "heldout_accuracy": preference.accuracy,
            "heldout_likelier": watched.likelier,
            "chosen_drift": watched.chosen_reward,
            "rejected_drift": watched.rejected_reward,
        },
    )


def _called(trees: Sequence[Tree], label: float) -> list[Tree]:
    """The answers that are called good (1) or bad (0), without their labels."""
    kept = [
        (t, tuple(b for b, found in zip(t.branches, t.labels["label"], strict=True) if found == label))
        for t in trees
    ]
    return [Tree(t.prompt, branches) for t, branches in kept if branches]
