"""The page's cards and tables: headline figures, every policy's measures, all figures, facts of the run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from heedful.report import digits, style
from heedful.report.figures import Outcome
from heedful.report.figures import outcome as outcome_of
from heedful.report.view import View
from heedful.report.wording import clean

MEASURES = (
    "grade",
    "helpful",
    "honest",
    "harmless",
    "correct",
    "reward",
    "kl",
    "length",
    "stop_rate",
    "repetition",
    "heldout_perplexity",
    "heldout_agreement",
)
GREEDY_TOO = ("grade", "correct", "length", "stop_rate", "repetition")


@dataclass(frozen=True)
class Card:
    """One headline figure; `role` is its colour."""

    label: str
    value: str
    interval: str
    note: str
    role: str = "ink"


@dataclass(frozen=True)
class Cell:
    """A value with its interval; empty where nothing was measured."""

    value: str = ""
    interval: str = ""

    def __bool__(self) -> bool:
        return bool(self.value)


@dataclass(frozen=True)
class Table:
    """Measures down, policies across, so that it fits a phone. `roles` colour the columns."""

    columns: tuple[str, ...]
    roles: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def cards(view: View) -> list[Card]:
    """The figures to know first."""
    found = list(_outcome_cards(view, view.outcome)) if view.outcome else list(_loss_cards(view))
    if card := _accuracy_card(view):
        found.insert(min(2, len(found)), card)
    total = sum(view.run.seconds.values())
    memory = view.summary["peak_memory_bytes"]
    words = view.words
    note = words("card_time_note", memory=digits.size(memory)) if memory else words("card_time_note_plain")
    return [*found, Card(words("card_time"), digits.seconds(total), "", note)]


def _outcome_cards(view: View, outcome: Outcome) -> Iterator[Card]:
    words, known, baseline = view.words, view.figures, view.policy(outcome.baseline)
    ranked = view.ranked(outcome)
    for name in ranked:
        rate, greedy = (
            known.get(outcome.main_win_rate(name)),
            known.get(outcome.main_win_rate(name, greedy=True)),
        )
        if rate is None:
            continue
        n = digits.number(rate["n"])
        note = words("card_win_note_plain", n=n)
        if greedy:
            note = words("card_win_note", n=n, greedy=digits.value_of(greedy))
        label = words("card_win", policy=view.policy(name), baseline=baseline)
        yield Card(label, digits.value_of(rate), digits.interval(rate), note, style.role(name))
    for name in ranked[:1]:
        policy, role = view.policy(name), style.role(name)
        if kl := known.get(f"{name}/kl"):
            label, note = words("card_kl", policy=policy), words("card_kl_note", baseline=baseline)
            yield Card(label, digits.value_of(kl), digits.interval(kl), note, role)
        stop, usual = known.get(f"{name}/stop_rate"), known.get(f"{outcome.baseline}/stop_rate")
        if stop and usual:
            note = words("card_stop_note", baseline=baseline, usual=digits.value_of(usual))
            label = words("card_stop", policy=policy)
            yield Card(label, digits.value_of(stop), digits.interval(stop), note, role)


def _loss_cards(view: View) -> Iterator[Card]:
    """What can be said of a run that was not evaluated."""
    for name in ("pretrain", "sft"):
        if loss := view.figures.get(f"{name}/heldout_loss"):
            label = view.words("card_loss", stage=view.stage(name))
            yield Card(label, f"{loss['value']:.3f}", "", view.words("card_loss_note"))


def _accuracy_card(view: View) -> Card | None:
    words, known = view.words, view.figures
    agreement = known.get("feedback/annotator_agreement")
    same = known.get("reward/accuracy_on_the_same_pairs") if agreement else None
    accuracy = same or known.get("reward/heldout_accuracy")
    if accuracy is None:
        return None
    note = words("card_accuracy_note_plain")
    if agreement:
        note = words("card_accuracy_note", agreement=digits.value_of(agreement))
    return Card(words("card_accuracy"), digits.value_of(accuracy), digits.interval(accuracy), note, "model")


def policies(view: View, outcome: Outcome) -> Table:
    """Every policy's measures."""
    words, baseline = view.words, view.policy(outcome.baseline)
    names = (outcome.baseline, *reversed(view.ranked(outcome)))
    rows: list[tuple[str, list[str]]] = []
    for reward in (False, True):
        judge = words("judge_reward") if reward else view.judge(outcome)
        label = words("row_win_rate", baseline=baseline, judge=judge)
        keys = [outcome.win_rate(name, reward=reward) for name in names]
        rows.append((label, keys))
        rows.append((words("greedily", row=label), [f"{key}_greedy" for key in keys]))
        ties = words("row_ties", baseline=baseline, judge=judge)
        rows += [(ties, [key.replace("/win_rate_", "/ties_") for key in keys])] if not reward else []
    for measure in MEASURES:
        kind = "criterion" if measure in ("helpful", "honest", "harmless") else "row"
        label = words.named(kind, measure).format(baseline=baseline, judge=view.judge(outcome))
        rows.append((label, [f"{name}/{measure}" for name in names]))
        if measure in GREEDY_TOO:
            rows.append((words("greedily", row=label), [f"{name}/{measure}_greedy" for name in names]))
    cells = [(label, tuple(cell(view, key) for key in keys)) for label, keys in rows]
    return Table(
        tuple(view.policy(name) for name in names),
        tuple(style.role(name) for name in names),
        tuple((label, row) for label, row in cells if any(row)),
    )


OVER_ROUNDS = (
    ("agree_annotators", "feedback/annotator_agreement"),
    ("agree_same", "reward/accuracy_on_the_same_pairs"),
    ("agree_all", "reward/heldout_accuracy"),
    ("agree_gold", "reward/gold_accuracy"),
    ("course_entropy", "rl/entropy"),
)
OF_A_POLICY = tuple(name for name in MEASURES if name not in ("helpful", "honest", "harmless", "correct"))


def history(view: View) -> Table | None:
    """Every round beside the others: its reward model, its policies, and who was promoted."""
    words, rounds = view.words, view.run.rounds
    if len(rounds) < 2:
        return None
    outcomes = {number: found for number, stages in rounds.items() if (found := outcome_of(stages))}
    promoted = [
        Cell(view.policy(outcomes[number].promoted)) if number in outcomes else Cell() for number in rounds
    ]
    keys = [(words(label), name) for label, name in OVER_ROUNDS]
    for name in dict.fromkeys(name for found in outcomes.values() for name in view.ranked(found)):
        keys += [(f"{view.policy(name)}: {row}", key) for row, key in _of_a_policy(view, outcomes, name)]
    rows = [(label, tuple(cell(view, f"round-{number}/{key}") for number in rounds)) for label, key in keys]
    return Table(
        tuple(words("round_label", number=number) for number in rounds),
        ("ink",) * len(rounds),
        tuple((label, row) for label, row in [(words("promoted_row"), tuple(promoted)), *rows] if any(row)),
    )


def _of_a_policy(view: View, outcomes: Mapping[int, Outcome], name: str) -> Iterator[tuple[str, str]]:
    """What a policy's rows are called, and the figures that they hold."""
    words, latest = view.words, list(outcomes.values())[-1]
    baseline = view.policy(latest.baseline)
    for reward in (False, True):
        judge = words("judge_reward") if reward else view.judge(latest)
        yield words("row_win_rate", baseline=baseline, judge=judge), latest.win_rate(name, reward=reward)
    for measure in OF_A_POLICY:
        label = words.named("row", measure).format(baseline=baseline, judge=view.judge(latest))
        yield label, f"{name}/{measure}"


def cell(view: View, key: str) -> Cell:
    """A figure as a cell of a table."""
    figure = view.figures.get(key)
    return Cell(digits.value_of(figure), digits.interval(figure)) if figure else Cell()


def facts(view: View) -> list[tuple[str, str]]:
    """What was run, where, and what it took."""
    summary, record = view.summary, view.run.record
    versions = ", ".join(f"{name} {number}" for name, number in record.get("versions", {}).items())
    seconds, memory = sum(view.run.seconds.values()), summary["peak_memory_bytes"]
    found = {
        "command": summary["command"],
        "seed": summary["seed"],
        "commit": summary["commit"],
        "versions": versions,
        "device": summary["device"],
        "threads": summary["threads"],
        "time": digits.seconds(seconds) if seconds else None,
        "memory": digits.size(memory) if memory else None,
    }
    return [(view.words(f"fact_{k}"), clean(str(v))) for k, v in found.items() if v not in (None, "")]


def all_figures(view: View) -> list[tuple[str, ...]]:
    """Every figure of summary.json: name, value, interval, n, unit."""
    return [
        (
            clean(name),
            digits.value_of(f),
            digits.interval(f),
            "" if f["n"] is None else f"{f['n']:,}",
            f["unit"],
        )
        for name, f in view.figures.items()
    ]
