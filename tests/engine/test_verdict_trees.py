"""What each objective learns from the same verdicts."""

import pytest

from engine.toy_rl import tokenizer
from heedful.data import chat, verdicts
from heedful.engine.pairs import compared
from heedful.engine.verdict_trees import learnt_from
from heedful.errors import UserError
from heedful.types import Message, Verdict

WORDS = tokenizer()
chat.ensure_chat_template(WORDS)
ASK, OTHER = (Message("user", "a b"),), (Message("user", "b c"),)
GIVEN = [
    Verdict(ASK, ("a", "b", "c"), ranks=(0, 1, 1), source="ann"),
    Verdict(ASK, ("c", "a"), ranks=(0, 1), strength=2.0, source="bob"),
    Verdict(OTHER, ("d", "e"), ranks=(0, 1), source="ann"),
]
RATED = [
    Verdict(ASK, ("a", "b"), ratings=(7.0, 5.0), source="ann"),
    Verdict(ASK, ("b", "a"), ratings=(1.0, 3.0), source="bob"),
    Verdict(OTHER, ("d",), ratings=(6.0,), source="ann"),
]


def test_listwise_is_one_tree_a_prompt_and_bradley_terry_one_a_pair() -> None:
    listwise = learnt_from(WORDS, GIVEN, 100, "listwise").trees
    assert [[(p.chosen, p.rejected, p.strength) for p in t.pairs] for t in listwise] == [
        [(0, 1, 1.0), (0, 2, 1.0), (2, 0, 2.0)],
        [(0, 1, 1.0)],
    ]
    assert [[p.weight for p in t.pairs] for t in listwise] == [pytest.approx([1 / 3] * 3), [1.0]]
    alone = learnt_from(WORDS, GIVEN, 100, "bradley_terry").trees
    assert [len(t.branches) for t in alone] == [2, 2, 2, 2]
    assert all(p.weight == 1.0 for t in alone for p in t.pairs)
    # `a` wins 2 and loses 1, `c` wins 1 and loses 1.
    assert [list(t.labels["best"]) for t in listwise] == [[1, 0, 0], [1, 0]]


def test_ties_are_dropped_or_become_pairs_of_even_chances() -> None:
    found = learnt_from(WORDS, GIVEN, 100, "listwise", ties=True).trees[0]
    tied = [p for p in found.pairs if p.probability == 0.5]
    assert [(p.chosen, p.rejected, p.strength) for p in tied] == [(1, 2, 0.0)]


def test_plackett_luce_is_a_tree_a_verdict_and_a_prompt_weighs_one() -> None:
    found = learnt_from(WORDS, GIVEN, 100, "plackett_luce").trees
    assert [list(t.labels["rank"]) for t in found] == [[0, 1, 1], [0, 1], [0, 1]]
    assert [list(t.labels["best"]) for t in found] == [[1, 0, 0], [1, 0], [1, 0]]
    assert [t.weight for t in found] == [0.5, 0.5, 1.0]
    ranked = learnt_from(WORDS, RATED[:2], 100, "plackett_luce").trees
    assert [list(t.labels["rank"]) for t in ranked] == [[0, 1], [1, 0]]


def test_pointwise_averages_what_annotators_say_on_their_own_scales() -> None:
    # ann: 7, 5, 6 -> 1.2247, -1.2247, 0; bob: 1, 3 -> -1, 1. Means: a 1.1124, b -1.1124, d 0.
    found = learnt_from(WORDS, RATED, 100, "pointwise").trees
    assert [list(t.labels["rating"]) for t in found] == [pytest.approx([1.1123724, -1.1123724]), [0.0]]
    assert [list(t.labels["best"]) for t in found] == [[1, 0], [0]]


def test_what_cannot_be_learnt_from_is_said() -> None:
    with pytest.raises(UserError, match="no verdict has any: add a column 'ratings'"):
        learnt_from(WORDS, GIVEN, 100, "pointwise")
    with pytest.raises(UserError, match="tells two answers apart"):
        learnt_from(WORDS, [Verdict(ASK, ("a", "b"), ranks=(0, 0))], 100, "listwise")
    with pytest.raises(UserError, match="longer than max_length=3"):
        learnt_from(WORDS, GIVEN, 3, "plackett_luce")


def test_the_default_learns_what_preferences_alone_would_teach() -> None:
    whole = learnt_from(WORDS, GIVEN, 100, "listwise").trees
    pairs = compared(WORDS, verdicts.preferences(GIVEN), 100).trees
    assert [t.pairs for t in whole] == [t.pairs for t in pairs]
    ids = [[b.ids.tolist() for b in t.branches] for t in whole]
    assert ids == [[b.ids.tolist() for b in t.branches] for t in pairs]
