"""How a reward model does on judgements it has not seen, beside how the annotators do among themselves."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful.engine.reward_model import RewardModel
from heedful.stats import calibration
from heedful.stats.intervals import bootstrap
from heedful.tasks.judge import Judge
from heedful.types import Message, Preference, Prompt

Key = tuple[tuple[Message, ...], str]
EQUAL = 1e-9  # gold grades nearer than this are a tie


@dataclass(frozen=True)
class Judged:
    """One row a judgement: which prompt and pair, who chose, by how much the model and the gold judge agree.

    `margin` and `gold` are the chosen answer's score less the rejected one's; `gold` is None without a judge.
    `longer` is how many characters more the chosen answer has. `groups` name each row's part under several
    headings ("by_strength", "by_criterion"); sigmoid(margin / gain) is the model's probability of the choice.
    """

    prompt: NDArray[np.int64]
    pair: NDArray[np.int64]
    chosen: list[str]
    source: list[str]
    margin: NDArray[np.float64]
    gold: NDArray[np.float64] | None
    longer: NDArray[np.int64] | None = None
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    gain: float = 1.0


def judged(
    model: RewardModel, preferences: Sequence[Preference], judge: Judge | None, prompts: Sequence[Prompt]
) -> Judged:
    """Score every answer once, and line the scores up with the judgements."""
    answers: dict[tuple[Message, ...], dict[str, None]] = {}
    for p in preferences:
        answers.setdefault(p.messages, {}).update({p.chosen: None, p.rejected: None})
    asked = [Prompt("", messages) for messages in answers]
    rows = model.scores(asked, [list(texts) for texts in answers.values()])
    score: dict[Key, float] = {
        (p.messages, text): s
        for p, texts, row in zip(asked, answers.values(), rows, strict=True)
        for text, s in zip(texts, row, strict=True)
    }
    gold = _gold(answers, judge, prompts) if judge else None
    numbers = {messages: i for i, messages in enumerate(answers)}
    pairs: dict[tuple[int, frozenset[str]], int] = {}
    pair = [
        pairs.setdefault((numbers[p.messages], frozenset((p.chosen, p.rejected))), len(pairs))
        for p in preferences
    ]

    def gap(values: dict[Key, float]) -> NDArray[np.float64]:
        return np.asarray(
            [values[p.messages, p.chosen] - values[p.messages, p.rejected] for p in preferences]
        )

    return Judged(
        prompt=np.asarray([numbers[p.messages] for p in preferences]),
        pair=np.asarray(pair),
        chosen=[p.chosen for p in preferences],
        source=[p.source for p in preferences],
        margin=gap(score),
        gold=gap(gold) if gold is not None else None,
        longer=np.asarray([len(p.chosen) - len(p.rejected) for p in preferences]),
        groups={
            "by_strength": [f"{p.strength:g}" for p in preferences],
            "by_criterion": [p.criterion for p in preferences],
        },
        gain=model.gain,
    )


def _gold(
    answers: dict[tuple[Message, ...], dict[str, None]], judge: Judge, prompts: Sequence[Prompt]
) -> dict[Key, float] | None:
    known = {p.messages: p for p in prompts}
    if not all(m in known for m in answers):
        return None
    keys = [(m, text) for m, texts in answers.items() for text in texts]
    grades = judge([known[m] for m, _ in keys], [text for _, text in keys])
    return {k: g["total"] for k, g in zip(keys, grades, strict=True)}


def figures(table: Judged) -> dict[str, Any]:
    """Accuracy, agreement on the same pairs, agreement with the gold judge, calibration; intervals over prompts."""
    apart_by = table.margin / table.gain
    confidence = 1 / (1 + np.exp(-np.abs(apart_by)))
    right_way = table.margin > 0
    found: dict[str, Any] = {
        "heldout_judgements": len(table.margin),
        "heldout_loss": float(np.logaddexp(0, -apart_by).mean()),
        "heldout_accuracy": accurate(table.margin, table.prompt),
        "calibration_error": calibration.expected_calibration_error(confidence, right_way).value,
        "calibration": [dataclasses.asdict(b) for b in calibration.calibration_curve(confidence, right_way)],
    }
    for heading, names in table.groups.items():
        found |= {heading: by_group(table, names)} if len(set(names)) > 1 else {}
    if table.longer is not None:
        found |= by_length(table.margin, table.longer, table.prompt)
    apart = np.ones(len(table.margin), bool) if table.gold is None else np.abs(table.gold) > EQUAL
    if table.gold is not None:
        right = table.margin * np.sign(table.gold)
        found["gold_accuracy"] = accurate(right[apart], table.prompt[apart])
        found["annotator_gold_accuracy"] = accurate(table.gold[apart], table.prompt[apart])
    agreement, clusters, same = agreements(table, apart)
    if len(agreement):
        found["annotator_agreement"] = accurate(agreement, clusters)
        found["accuracy_on_the_same_pairs"] = accurate(table.margin[same], table.prompt[same])
    return found


def by_group(table: Judged, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Accuracy on each group of rows, in the order of their names."""
    rows = np.asarray(names)
    return {
        str(name): accurate(table.margin[rows == name], table.prompt[rows == name])
        for name in sorted(set(names))
    }


def by_length(
    margin: NDArray[np.float64], longer: NDArray[np.int64], prompts: NDArray[np.int64]
) -> dict[str, Any]:
    """Accuracy where the chosen answer is the longer one, where it is the shorter one, and the mean of the two.

    The mean is the length-controlled accuracy: whoever goes by length alone has 1/2 there, however often people
    choose the longer answer. Answers of one length are left out.
    """
    sides = {"chosen_longer": longer > 0, "chosen_shorter": longer < 0}
    if not all(side.any() for side in sides.values()):
        return {}
    right = 0.5 * ((margin > 0).astype(float) + (margin >= 0))

    def mean(weights: NDArray[np.float64]) -> float | None:
        if not all(weights[side].any() for side in sides.values()):
            return None
        return float(np.mean([weights[side] @ right[side] / weights[side].sum() for side in sides.values()]))

    found = bootstrap(mean, len(margin), clusters=prompts, resamples=500)
    controlled = {"value": found.value, "low": found.low, "high": found.high, "n": int((longer != 0).sum())}
    each = {name: accurate(margin[side], prompts[side]) for name, side in sides.items()}
    return {"length_controlled_accuracy": controlled, **each}


def agreements(
    table: Judged, apart: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """+1 or -1 for every two annotators who judged the same pair, its prompt, and the judgements involved.

    Only pairs that the gold judge tells apart count, where there is one.
    """
    by_pair: dict[int, list[int]] = {}
    for row in np.flatnonzero(apart):
        by_pair.setdefault(int(table.pair[row]), []).append(int(row))
    values, prompts, rows = [], [], set()
    for same in by_pair.values():
        for i, j in combinations(same, 2):
            if table.source[i] != table.source[j]:
                values.append(1.0 if table.chosen[i] == table.chosen[j] else -1.0)
                prompts.append(int(table.prompt[i]))
                rows |= {i, j}
    return np.asarray(values), np.asarray(prompts, dtype=np.int64), np.asarray(sorted(rows), dtype=np.int64)


def accurate(margin: NDArray[np.float64], prompts: NDArray[np.int64]) -> dict[str, Any]:
    """Share of positive margins, ties half, with a 95 % interval that takes each prompt as one draw."""
    found = calibration.accuracy(margin, clusters=prompts).rate
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
