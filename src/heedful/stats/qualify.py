"""Who may judge: annotators against the researchers' own answers."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from heedful.stats.estimate import Estimate
from heedful.stats.intervals import wilson
from heedful.stats.labels import Label, latest


@dataclass(frozen=True, slots=True)
class Qualification:
    """One annotator's agreement with gold, and what follows from it.

    `borderline` says that chance alone could have turned the verdict: the cut-off lies in the interval.
    """

    annotator: Hashable
    agreement: Estimate
    qualified: bool
    borderline: bool
    reason: str


def qualify(
    gold: Mapping[Any, Hashable],
    labels: Iterable[Label],
    *,
    cutoff: float = 0.75,
    at_least: int = 10,
    confidence: float = 0.95,
) -> list[Qualification]:
    """Judge every annotator by their labels of gold items, in the order of their first label.

    The rule is InstructGPT's (arXiv 2203.02155, appendix B.1: "soft cutoffs at 75% agreement"): the share of
    gold items labelled as in `gold` reaches `cutoff`, over `at_least` items or more. The share decides and
    not its Wilson interval, which a qualifying set is too small for; an interval that holds the cut-off
    makes the verdict `borderline`, for a person to look at. Items without gold are passed over; a label
    counts as agreement if it equals the gold, so a vote "about the same" on a decided pair does not.
    """
    matches: dict[Hashable, list[bool]] = defaultdict(list)
    for item, annotator, value in latest(labels):
        judged = matches[annotator]
        if item in gold:
            judged.append(value == gold[item])
    return [
        verdict(annotator, sum(judged), len(judged), cutoff=cutoff, at_least=at_least, confidence=confidence)
        for annotator, judged in matches.items()
    ]


def verdict(
    annotator: Hashable,
    right: float,
    n: int,
    *,
    cutoff: float = 0.75,
    at_least: int = 10,
    confidence: float = 0.95,
) -> Qualification:
    """Judge one annotator who agreed with `right` of `n` gold items; an item may be agreed with in part."""
    found = wilson(right, n, confidence=confidence)
    if found.value is None or found.low is None or found.high is None or n < at_least:
        reason = f"judged {n} gold items, {at_least} are needed"
        return Qualification(annotator, found, False, True, reason)
    qualified = found.value >= cutoff
    borderline = found.low < cutoff <= found.high
    reason = (
        f"agreed with {right:.4g} of {n} gold items: {found.value:.0%}, {'at least' if qualified else 'below'} "
        f"{cutoff:.0%}{' (borderline)' if borderline else ''}"
    )
    return Qualification(annotator, found, qualified, borderline, reason)
