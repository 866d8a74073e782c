"""Rules that say when a figure should not be trusted, or a policy not be used."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from heedful.report import digits
from heedful.report.figures import Figures, Outcome

DRIFT = 0.5  # relative change of the mean length
STOP = 0.95  # least share of answers that end by themselves
REPEATED = 2.0  # times the baseline's repetition,
REPEATED_AT_LEAST = 0.01  # but a share that anybody would notice
FAR = 20.0  # nats of KL from the baseline
BEHIND = 0.02  # accuracy of the reward model below the annotators' agreement
COLLAPSED = 0.2  # of the entropy that RL began with
FELL = 1.0  # nats by which the log-prob of held-out chosen answers may fall
BEFORE = "before"  # what the loop calls the policy that the round before promoted
TIED = 1 / 3  # share of pairs that the judge cannot tell apart


@dataclass(frozen=True)
class Caution:
    """A rule that fired: its name in the wording, and the values for its sentence."""

    rule: str
    values: Mapping[str, str]


def find(figures: Figures, outcome: Outcome | None) -> list[Caution]:
    """Every rule that fires on one round's figures."""
    found = [*_reward_model(figures), *_collapsed(figures), *_peaked(figures), *_unlikely(figures)]
    if outcome is not None:
        for policy in outcome.policies:
            found += _overoptimised(figures, outcome, policy)
            found += _unheeded(figures, outcome, policy)
            found += _tasks(figures, outcome, policy)
            found += _ties(figures, outcome, policy)
        for policy in (outcome.baseline, *outcome.policies):
            found += _manners(figures, outcome, policy)
    return found


def since(figures: Figures, earlier: Figures, outcome: Outcome | None) -> list[Caution]:
    """The policies that the reward model likes more and the judge measurably less than in the round before."""
    found: list[Caution] = []
    if outcome is None:
        return found
    for policy in outcome.policies:
        gold, proxy = outcome.win_rate(policy), outcome.win_rate(policy, reward=True)
        if not all(name in part for name in (gold, proxy) for part in (figures, earlier)):
            continue
        now, before = figures[gold], earlier[gold]
        fell = now["high"] is not None and before["low"] is not None and now["high"] < before["low"]
        if fell and figures[proxy]["value"] > earlier[proxy]["value"]:
            rates = {"before": digits.value_of(before), "now": digits.value_of(now)}
            found.append(Caution("fell", {"policy": policy, **rates}))
    return found


def _unheeded(figures: Figures, outcome: Outcome, policy: str) -> Iterator[Caution]:
    """Where nobody judges: the reward model sees a gain beyond chance, and held-out judgements see none."""
    proxy = figures.get(outcome.win_rate(policy, reward=True))
    agreement = figures.get(f"{policy}/heldout_agreement")
    if (
        outcome.judge is None
        and proxy
        and agreement
        and (proxy["low"] or 0) > 0.5
        and (agreement["low"] or 0) <= 0.5
    ):
        shown = f"{digits.value_of(agreement)} {digits.interval(agreement)}".strip()
        yield Caution("unheeded", {"policy": policy, "proxy": digits.value_of(proxy), "agreement": shown})


def in_hindsight(
    figures: Figures, earlier: Figures, outcome: Outcome | None, before: Outcome | None
) -> list[Caution]:
    """Where nobody judges: the policy that the round before promoted, by this round's reward model.

    It was not trained against this one, which has learnt from judgements of its answers.
    """
    if outcome is None or before is None or outcome.judge is not None:
        return []
    proxy = earlier.get(before.win_rate(before.promoted, reward=True))
    later = figures.get(outcome.win_rate(BEFORE, reward=True))
    if not (proxy and later and (proxy["low"] or 0) > 0.5 and later["value"] < 0.5):
        return []
    values = {"proxy": digits.value_of(proxy), "later": digits.value_of(later)}
    return [Caution("hindsight", values)]


def _collapsed(figures: Figures) -> Iterator[Caution]:
    """A policy that says the same thing every time has nothing left to learn from."""
    first, last = _value(figures, "rl/entropy_at_first"), _value(figures, "rl/entropy")
    if first and last is not None and last < COLLAPSED * first:
        yield Caution("collapse", {"first": digits.number(first), "last": digits.number(last)})


def _unlikely(figures: Figures) -> Iterator[Caution]:
    """Preference optimisation that took probability from the chosen answers too."""
    drift = _value(figures, "prefer/chosen_drift")
    if drift is not None and drift < -FELL:
        yield Caution("unlikely", {"policy": "prefer", "fall": digits.number(-drift)})


def _peaked(figures: Figures) -> Iterator[Caution]:
    """The judge's marks rose and fell measurably while the reward went on rising."""
    parts = [[figures.get(f"rl/{what}_{when}") for when in ("best", "last")] for what in ("judge", "reward")]
    (best, last), (before, now) = parts
    if not (best and last and before and now):
        return
    if last["high"] < best["low"] and now["value"] > before["value"]:
        yield Caution(
            "peaked",
            {
                "best": digits.value_of(best),
                "last": digits.value_of(last),
                "before": digits.value_of(before),
                "now": digits.value_of(now),
                "iteration": f"{figures['rl/iteration_best']['value']:.0f}",
            },
        )


def _value(figures: Figures, name: str) -> float | None:
    return figures[name]["value"] if name in figures else None


def _reward_model(figures: Figures) -> Iterator[Caution]:
    accuracy = _value(figures, "reward/accuracy_on_the_same_pairs")
    if accuracy is None:
        accuracy = _value(figures, "reward/heldout_accuracy")
    agreement = _value(figures, "feedback/annotator_agreement")
    if accuracy is not None and agreement is not None and accuracy < agreement - BEHIND:
        yield Caution(
            "accuracy", {"accuracy": digits.percent(accuracy), "agreement": digits.percent(agreement)}
        )


def _overoptimised(figures: Figures, outcome: Outcome, policy: str) -> Iterator[Caution]:
    """The reward model sees a gain beyond chance where the judge sees a loss."""
    proxy = figures.get(outcome.win_rate(policy, reward=True))
    gold = figures.get(outcome.win_rate(policy))
    if proxy and gold and (proxy["low"] or 0) > 0.5 and gold["value"] < 0.5:
        values = {"proxy": digits.value_of(proxy), "gold": digits.value_of(gold)}
        yield Caution("overoptimised", {"policy": policy, **values})


def _tasks(figures: Figures, outcome: Outcome, policy: str) -> Iterator[Caution]:
    for task in outcome.tasks:
        for greedy in (False, True):
            figure = figures.get(outcome.main_win_rate(policy, greedy=greedy, task=task))
            if figure and figure["value"] < 0.5:
                beyond = figure["high"] is not None and figure["high"] < 0.5
                values = {"rate": f"{digits.value_of(figure)} {digits.interval(figure)}".strip()}
                rule = f"task_{'below' if beyond else 'by_chance'}{'_greedy' if greedy else ''}"
                yield Caution(rule, {"policy": policy, "task": task, **values})


def _ties(figures: Figures, outcome: Outcome, policy: str) -> Iterator[Caution]:
    ties = _value(figures, f"{policy}/ties_vs_{outcome.baseline}")
    if ties is not None and ties > TIED:
        yield Caution("ties", {"policy": policy, "share": digits.percent(ties)})


def _manners(figures: Figures, outcome: Outcome, policy: str) -> Iterator[Caution]:
    """How a policy writes: whether it stops, repeats itself, drifts in length or wanders off."""
    stop, kl = _value(figures, f"{policy}/stop_rate"), _value(figures, f"{policy}/kl")
    if stop is not None and stop < STOP:
        yield Caution("stop", {"policy": policy, "rate": digits.percent(stop)})
    if kl is not None and kl > FAR:
        yield Caution("kl", {"policy": policy, "kl": digits.number(kl)})
    length, usual = _value(figures, f"{policy}/length"), _value(figures, f"{outcome.baseline}/length")
    if length is not None and usual and abs(length / usual - 1) > DRIFT:
        values = {"length": digits.number(length), "usual": digits.number(usual)}
        yield Caution("longer" if length > usual else "shorter", {"policy": policy, **values})
    again = _value(figures, f"{policy}/repetition")
    usual = _value(figures, f"{outcome.baseline}/repetition")
    if policy == outcome.baseline or again is None or usual is None:
        return
    if again > max(REPEATED * usual, REPEATED_AT_LEAST):
        values = {"share": digits.percent(again), "usual": digits.percent(usual)}
        yield Caution("repetition", {"policy": policy, **values})
