"""Rewards for knowing what one does not know: what each outcome of a question is worth, and what that asks for."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

from heedful import world
from heedful.errors import UserError, nearest
from heedful.types import Prompt


@dataclass(frozen=True)
class RewardTable:
    """What each outcome is worth. Somebody who is right with probability p earns most by what `best` says."""

    correct: float
    hedged_correct: float
    uninformative: float
    hedged_wrong: float
    wrong: float

    def of(self, outcome: str) -> float:
        """The worth of one of the world's outcomes."""
        return float(astuple(self)[world.OUTCOMES.index(outcome)])

    def worth(self, p: float) -> dict[str, float]:
        """What is to be expected of answering plainly, of hedging, and of silence, being right with probability p."""
        return {
            "plain": p * self.correct + (1 - p) * self.wrong,
            "hedged": p * self.hedged_correct + (1 - p) * self.hedged_wrong,
            "silent": self.uninformative,
        }

    def best(self, p: float) -> str:
        """What earns most at p; of equals, the more cautious."""
        worth = self.worth(p)
        return max(("silent", "hedged", "plain"), key=lambda way: worth[way])

    @property
    def silent_below(self) -> float:
        """The p below which silence is worth more than a hedge and a plain answer."""
        return self.plain_above if self.hedge_between is None else self.hedge_between[0]

    @property
    def plain_above(self) -> float:
        """The p above which a plain answer is worth more than silence and a hedge."""
        if self.hedge_between is not None:
            return self.hedge_between[1]
        return (self.uninformative - self.wrong) / (self.correct - self.wrong)

    @property
    def hedge_between(self) -> tuple[float, float] | None:
        """The interval of p in which hedging is worth more than both, or None where there is none."""
        low = (self.uninformative - self.hedged_wrong) / (self.hedged_correct - self.hedged_wrong)
        cost, gain = self.hedged_wrong - self.wrong, self.correct - self.hedged_correct
        high = cost / (cost + gain)
        return (low, high) if low < high else None


TABLES = {
    # Schulman, Berkeley 2023, as quoted by Zhang et al. 2023 (arXiv:2309.01219), table 8. The hedged row is half the
    # plain one, so all three ways are worth the same at p = 0.8 and hedging is never strictly best.
    "schulman": RewardTable(1.0, 0.5, 0.0, -2.0, -4.0),
    # Ours: a hedge costs a quarter of the praise and takes away three quarters of the blame, so that it is best between
    # p = 4/7 and 12/13.
    "graded": RewardTable(1.0, 0.75, 0.0, -1.0, -4.0),
}


def table(name: str) -> RewardTable:
    """One of `TABLES`, or five numbers: correct, hedged correct, uninformative, hedged wrong, wrong."""
    if name in TABLES:
        return TABLES[name]
    try:
        values = [float(part) for part in name.split(",")]
    except ValueError:
        values = []
    if len(values) != 5:
        raise UserError(
            f"there is no reward table '{name}'.{nearest(name, TABLES)} Known: {', '.join(TABLES)}, or five numbers: "
            f"{', '.join(world.OUTCOMES)}"
        )
    found = RewardTable(*values)
    if not found.correct > found.uninformative > found.wrong or not found.hedged_correct > found.hedged_wrong:
        raise UserError("a reward table must prefer a correct answer to silence, and silence to a wrong one")
    return found


def grades(given: RewardTable, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[dict[str, float]]:
    """The table as a judge of the world's questions: the total is the reward, `answered` is 0 for silence."""
    found = [world.outcome(p, a) for p, a in zip(prompts, answers, strict=True)]
    return [{"total": given.of(o), "answered": float(o != "uninformative")} for o in found]
