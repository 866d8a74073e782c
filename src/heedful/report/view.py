"""What every part of the page is told: the run, its figures, who was compared, and the words to say it with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from heedful.report import figures, style
from heedful.report.figures import Figure, Figures, Outcome
from heedful.report.plots import Mark
from heedful.report.run import Run
from heedful.report.wording import Words, clean


@dataclass(frozen=True)
class Plot:
    """One picture with its heading and a sentence that says how to read it."""

    title: str
    svg: Markup
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of the page; `id` is its anchor."""

    id: str
    title: str
    note: str
    plots: tuple[Plot, ...]


@dataclass(frozen=True)
class View:
    """A run as the page sees it; `summary` is the content of summary.json."""

    run: Run
    summary: Mapping[str, Any]
    words: Words

    @property
    def figures(self) -> Figures:
        found: Figures = self.summary["figures"]
        return found

    @property
    def outcome(self) -> Outcome | None:
        return figures.outcome(self.run.stages)

    def policy(self, name: str) -> str:
        """A policy's name; the baseline is the given model where nothing was fine-tuned."""
        given = name == "sft" and "sft" not in self.run.stages
        return self.loss(name) or self.words.named("policy", "given" if given else name)

    def stage(self, name: str) -> str:
        """A stage's name."""
        return self.loss(name) or self.words.named("stage", name)

    def loss(self, name: str) -> str | None:
        """The loss that stands for the stage `prefer`, where it is not the one that stage is named after."""
        loss = self.summary["prefer_loss"] if name == "prefer" else None
        return None if loss in (None, "dpo") else clean(loss)

    def judge(self, outcome: Outcome) -> str:
        """Whose view counts."""
        kind = "reward" if outcome.judge is None else "gold" if outcome.judge == "world" else "given"
        return self.words(f"judge_{kind}")

    def ranked(self, outcome: Outcome) -> list[str]:
        """The compared policies, the one that this is about first."""
        return sorted(outcome.policies, key=lambda name: (name != "rl", name != "prefer"))

    def mark(self, policy: str, figure: Figure, *, hollow: bool = False) -> Mark:
        """A policy's figure as a mark in its colour; a long name is cut to the room there is."""
        name = self.policy(policy)
        return Mark(
            name if len(name) <= 8 else name[:7] + "…",
            figure["value"],
            figure["low"],
            figure["high"],
            style.role(policy),
            hollow,
        )
