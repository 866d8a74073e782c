"""Simulated people who judge answers: each sees the gold grade through own leanings and own noise.

A judgement depends on (annotator, prompt, answer) alone, never on the order in which it was asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from heedful.types import Answer, Comparison, Lang, Message, Prompt, Ranking, Rating
from heedful.world.judge import grade
from heedful.world.reading import read
from heedful.world.tasks import truth

NOISE = 0.26  # spread of one judgement of one answer, on the gold total's scale
TIE = 0.04  # answers nearer than this look about the same
CARELESS = 0.15  # share of annotators who do not really read
REMEMBERED = 10_000  # answers whose grades are kept


@dataclass(frozen=True)
class Annotator:
    """One simulated person. `noise` is the spread of a judgement; `careless` ones judge at random."""

    name: str
    lang: Lang
    noise: float
    longer: float  # worth of an answer that is 20 words longer than usual
    polite: float  # worth of a polite word
    honesty: float  # further weight on honesty
    careless: bool
    seed: int

    def worth(self, prompt: Prompt, answer: Answer, criterion: str = "overall") -> float:
        """How good this person finds an answer: about 0 to 1."""
        rng = Random(f"worth {self.seed} {self.name} {prompt.id} {answer.id} {criterion}")
        if self.careless:
            return rng.random()
        view = _view(prompt, answer.text)
        gold = {"helpful": view[1], "honest": view[2], "harmless": view[3]}.get(criterion, view[0])
        lean = self.longer * (view[4] - 12) / 20 + self.polite * view[5] + self.honesty * (view[2] - 1.0)
        return gold + lean + rng.gauss(0.0, self.noise)

    def rate(self, prompt: Prompt, answer: Answer, criterion: str = "overall") -> Rating:
        """A mark from 1 to 7."""
        score = min(7, max(1, round(1 + 6 * self.worth(prompt, answer, criterion))))
        return Rating(prompt.id, answer.id, self.name, score, criterion, self._seconds(answer))

    def rank(self, prompt: Prompt, answers: Sequence[Answer], criterion: str = "overall") -> Ranking:
        """An order, best first; an answer about as good as the one before it is tied with it."""
        worth = {answer.id: self.worth(prompt, answer, criterion) for answer in answers}
        order: list[tuple[str, ...]] = []
        best = 0.0
        for name in sorted(worth, key=lambda name: (-worth[name], name)):
            if order and best - worth[name] < TIE:
                order[-1] = (*order[-1], name)
            else:
                order.append((name,))
                best = worth[name]
        seconds = sum(self._seconds(answer) for answer in answers)
        return Ranking(prompt.id, self.name, tuple(order), criterion, seconds)

    def compare(
        self, prompt: Prompt, first: Answer, second: Answer, criterion: str = "overall"
    ) -> Comparison:
        """A choice between two answers, with its strength from 0 (about the same) to 3."""
        gap = self.worth(prompt, first, criterion) - self.worth(prompt, second, criterion)
        size = sum(abs(gap) >= edge for edge in (TIE, 0.25, 0.5))
        seconds = self._seconds(first) + self._seconds(second)
        return Comparison(
            prompt.id, first.id, second.id, self.name, size if gap > 0 else -size, criterion, seconds
        )

    def _seconds(self, answer: Answer) -> float:
        return round(2.0 if self.careless else 4.0 + 0.1 * len(answer.text), 1)


View = tuple[float, float, float, float, int, int]
_views: dict[tuple[str, tuple[Message, ...], str], View] = {}


def _view(prompt: Prompt, text: str) -> View:
    """Gold total, helpful, honest, harmless; length; whether polite. Remembered: several people read each answer."""
    key = (prompt.id, prompt.messages, text)
    if key not in _views:
        if len(_views) >= REMEMBERED:
            _views.clear()
        gold = grade(prompt, text)
        reading = read(truth(prompt), text)
        polite = int("sorry" in text.lower() or "抱歉" in text)
        _views[key] = (gold.total, gold.helpful, gold.honest, gold.harmless, reading.length, polite)
    return _views[key]


def annotators(n: int, seed: int, lang: Lang = "en") -> list[Annotator]:
    """Draw `n` people; about one in seven is careless, at least one of five or more."""
    rng = Random(f"annotators {seed} {lang}")
    lazy = max(round(CARELESS * n), int(n >= 5))
    careless = set(rng.sample(range(n), lazy))
    return [
        Annotator(
            name=f"annotator-{index + 1}",
            lang=lang,
            noise=NOISE * rng.uniform(0.8, 1.2),
            longer=rng.gauss(0.0, 0.04),
            polite=abs(rng.gauss(0.0, 0.04)),
            honesty=abs(rng.gauss(0.0, 0.08)),
            careless=index in careless,
            seed=seed,
        )
        for index in range(n)
    ]
