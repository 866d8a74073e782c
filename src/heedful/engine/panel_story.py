"""Long texts step by step: many stories side by side, from panels, or from the newest text that fits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from heedful.engine import panel_trees, plan_choice
from heedful.engine.panel_author import Author, frame_length
from heedful.engine.panel_prose import held
from heedful.engine.plan_choice import Choose
from heedful.engine.policy import Policy
from heedful.engine.sampler import TokenPrompt
from heedful.engine.sampling import Sampling
from heedful.errors import UserError
from heedful.panels import consistency, desk, requests, text
from heedful.panels.desk import Desk
from heedful.panels.panel import Panel
from heedful.types import Lang


@dataclass(frozen=True, slots=True)
class Heat:
    """Where randomness comes in: temperatures of plans, of prose, and of what is said to have changed."""

    plan: float = 1.0
    prose: float = 0.0
    update: float = 0.0


@dataclass(slots=True)
class Prompts:
    """How long the prompts were, a list a kind of request, each with one mean a step."""

    tokens: dict[str, list[float]] = field(default_factory=dict)

    def add(self, kind: str, lengths: Sequence[int]) -> None:
        self.tokens.setdefault(kind, []).append(sum(lengths) / len(lengths))


def read_first(
    author: Author,
    openings: Sequence[str],
    lang: Lang,
    *,
    seed: Sequence[Any],
    drafts: int = 1,
    max_completion_length: int = 192,
) -> list[Desk]:
    """A desk for each opening, with the panel that the author reads from it: nothing else is known of the story.

    An opening that speaks against what was read is read again, up to `drafts` times in all.
    """
    fresh = [desk.begin(f"story {number}", Panel(lang=lang)) for number in range(len(openings))]
    asks = [desk.ask_update(d, t, explained=author.explained) for d, t in zip(fresh, openings, strict=True)]

    def misread(number: int, patch: str) -> int:
        panel, _ = requests.updated(fresh[number].panel, patch)
        return len(consistency.marks(panel, openings[number]))

    found = author.kept(
        asks,
        misread,
        drafts=drafts,
        temperature=0.0,
        max_completion_length=max_completion_length,
        seed=(*seed, "opening"),
    )
    return [desk.written(d, t, patch) for d, t, patch in zip(fresh, openings, found, strict=True)]


def from_panels(
    author: Author,
    desks: Sequence[Desk],
    passages: int,
    heat: Heat,
    *,
    seed: Sequence[Any],
    plans: int = 1,
    choose: Choose = plan_choice.first,
    drafts: int = 1,
    closed: bool = False,
    panel_tokens: int = 256,
    max_completion_length: int = 96,
    prompts: Prompts | None = None,
) -> Iterator[list[Desk]]:
    """Yield the desks after each passage; of `plans` candidates each takes the one that `choose` says.

    With more than one of `drafts` passages are held to their panels (`panel_prose`), and an update that disagrees with
    its passage is drawn again, then put right. With a `closed` cast plans name nobody but whom the panel has, and
    updates change only what the passage names (`panels.grammar`). A desk without a plan that can be read keeps its
    panel's own.
    """
    now = list(desks)
    how: dict[str, Any] = {"explained": author.explained, "fit": author.fit(panel_tokens)}

    def noted(asks: Sequence[desk.Ask]) -> Sequence[desk.Ask]:
        if prompts is not None:
            prompts.add(asks[0].kind, [frame_length(author, a) for a in asks])
        return asks

    for number in range(passages):
        asks = [desk.ask_plan(d, plans, closed=closed, **how) for d in now]
        answers = author.answer(
            noted(asks),
            temperature=heat.plan,
            max_completion_length=max_completion_length,
            seed=(*seed, number, "plan"),
        )
        candidates = [readable(d, texts) for d, texts in zip(now, answers, strict=True)]
        now = [desk.choose(d, plan) for d, plan in zip(now, choose(now, candidates), strict=True)]
        told = held(
            author,
            noted([desk.ask_write(d, **how) for d in now]),
            [d.panel for d in now],
            drafts=drafts,
            temperature=heat.prose,
            max_completion_length=max_completion_length,
            seed=(*seed, number, "write"),
        )
        told = [passage or "-" for passage in told]
        asks = [desk.ask_update(d, t, closed=closed, **how) for d, t in zip(now, told, strict=True)]
        patches = author.kept(
            noted(asks),
            partial(unlike, now, told),
            drafts=drafts,
            temperature=heat.update,
            max_completion_length=max_completion_length,
            seed=(*seed, number, "update"),
        )
        if drafts > 1:
            patches = [held_update(d, t, p) for d, t, p in zip(now, told, patches, strict=True)]
        now = [desk.written(d, t, p) for d, t, p in zip(now, told, patches, strict=True)]
        yield now


def readable(on: Desk, answers: Sequence[str]) -> list[tuple[str, ...]]:
    """The plans that can be read, or the panel's own."""
    return desk.plans(on, answers) or [on.panel.plan or ("-",)]


def held_update(on: Desk, passage: str, patch: str) -> str:
    """An update with a line more for everyone whom it leaves elsewhere than its passage."""
    after, _ = requests.updated(on.panel, patch)
    more = consistency.put_right(on.panel, passage, after)
    return "\n".join([patch, *(text.entry_line(on.panel.lang, field, entry) for field, entry in more)])


def unlike(desks: Sequence[Desk], passages: Sequence[str], number: int, patch: str) -> int:
    """How many people and things an update leaves elsewhere than its passage."""
    before = desks[number].panel
    return len(consistency.misread(before, passages[number], requests.updated(before, patch)[0]))


def from_text(
    policy: Policy,
    openings: Sequence[str],
    passages: int,
    windows: Sequence[int],
    *,
    temperature: float,
    seed: Sequence[Any],
    max_completion_length: int = 96,
) -> list[list[str]]:
    """Stories that go on from their own newest text: `windows` says how many tokens of it each step may see.

    A passage ends with its line.
    """
    if len(windows) < passages:
        raise UserError(f"{passages} passages need as many window lengths, not {len(windows)}")
    now = [[opening] for opening in openings]
    how = Sampling(max_completion_length, temperature, stop=("\n",))
    for number in range(passages):
        asked = [
            TokenPrompt(str(i), panel_trees.recent(policy.tokenizer, told, tokens=windows[number]))
            for i, told in enumerate(now)
        ]
        found = policy.answer(asked, how, seed=(*seed, number, "text"))
        for told, answer in zip(now, found, strict=True):
            told.append(answer.texts[0] or "-")
    return now
