"""Whole judgements: files in and out, what they tell apart, and the same pairs as the store's own."""

import json
from pathlib import Path

import pytest

from heedful.data import verdicts
from heedful.data.formats import read_preferences, write_preferences
from heedful.data.store import Annotator, Store, convert
from heedful.data.verdicts import preferences, read_verdicts, told_apart, write_verdicts
from heedful.errors import UserError
from heedful.types import (
    Answer,
    Comparison,
    Edit,
    Message,
    PanelComparison,
    PanelRating,
    PlanChoice,
    Preference,
    Prompt,
    Ranking,
    Rating,
    Verdict,
)

ASK = (Message("user", "which?"),)


def file(folder: Path, *rows: dict[str, object]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": "which?", **row}) + "\n" for row in rows))
    return path


def test_rankings_ratings_and_pairs_are_read_whole(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        {"answers": ["a", "b", "c"], "ranking": [2, [0, 1]], "source": "ann", "criterion": "honest"},
        {"answers": ["a", "b", "c"], "ratings": [7, None, 2.5]},
        {"answers": ["a", "b"], "ranking": [[0, 1]], "ratings": [3, 4]},
    )
    first, second, third = read_verdicts(path)
    assert (first.ranks, first.source, first.criterion) == ((1, 1, 0), "ann", "honest")
    assert (second.answers, second.ratings, second.ranks) == (("a", "c"), (7.0, 2.5), ())
    assert (third.ranks, third.ratings) == ((0, 0), (3.0, 4.0))
    again = tmp_path / "again.jsonl"
    assert write_verdicts(again, [first, second, third]) == 3
    assert read_verdicts(again) == [first, second, third]


def test_pairs_keep_strength_margin_doubt_and_ties(tmp_path: Path) -> None:
    pair = {"chosen": "a", "rejected": "b"}
    path = file(
        tmp_path,
        {**pair, "strength": 3},
        {**pair, "margin": 0.25},
        {**pair, "margin": 0},
        {**pair, "strength": 0},
        {**pair, "probability": 0.8},
    )
    found = read_verdicts(path)
    assert [(v.ranks, v.strength, v.probability) for v in found] == [
        ((0, 1), 3.0, 1.0),
        ((0, 1), 0.25, 1.0),
        ((0, 1), 0.0, 1.0),
        ((0, 0), 0.0, 1.0),
        ((0, 1), 1.0, 0.8),
    ]
    again = tmp_path / "again.jsonl"
    write_verdicts(again, found)
    assert read_verdicts(again) == found
    # Pairs lose the tie alone; TRL's margin of 0 is a choice.
    expected = [(p.strength, p.probability) for p in preferences(found)]
    assert expected == [(3.0, 1.0), (0.25, 1.0), (0.0, 1.0), (1.0, 0.8)]
    assert [(p.strength, p.probability) for p in read_preferences(path)] == expected
    write_preferences(again, preferences(found))
    assert [(p.strength, p.probability) for p in read_preferences(again)] == expected


def test_a_ranking_tells_pairs_and_ties_and_ratings_tell_strength() -> None:
    ranking = Verdict(ASK, ("a", "b", "c"), ranks=(1, 0, 1))
    assert [(p.chosen, p.rejected) for p in told_apart(ranking)] == [("b", "a"), ("b", "c")]
    tied = told_apart(ranking, ties=True)[-1]
    assert (tied.chosen, tied.rejected, tied.probability, tied.strength) == ("a", "c", 0.5, 0.0)
    both = Verdict(ASK, ("a", "b", "c"), ranks=(0, 1, 2), ratings=(7.0, 4.0, 4.0))
    # Rated alike but ranked: the order is told, its strength is not.
    assert [p.strength for p in told_apart(both)] == [3.0, 3.0, 1.0]
    marks = Verdict(ASK, ("a", "b", "c"), ratings=(2.0, 5.0, 2.0))
    assert [(p.chosen, p.rejected, p.strength) for p in told_apart(marks)] == [
        ("b", "a", 3.0),
        ("b", "c", 3.0),
    ]
    # Ratings of those who ranked too are not counted twice.
    assert len(preferences([ranking, marks])) == 2
    assert len(preferences([marks])) == 2


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"answers": ["a", "b"]}, "neither a 'ranking' nor 'ratings'"),
        ({"answers": ["a", "b"], "ranking": [0, 2]}, r"'ranking' .* positions in 'answers' \(0 to 1\)"),
        ({"answers": ["a", "b"], "ranking": [0, [0, 1]]}, "each once"),
        ({"answers": ["a", "b"], "ranking": [True, False]}, "positions"),
        ({"answers": ["a", "b"], "ratings": [1]}, "a list of 2 numbers"),
        ({"answers": ["a", "b"], "ratings": [1, "good"]}, "'ratings' is .*, but it must be a number"),
        ({"answers": "ab", "ranking": [0]}, "'answers' is .* a list of texts"),
        ({"chosen": "a", "rejected": "b", "probability": 1.5}, "'probability' is 1.5"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path, row: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=f"line 1.*{sentence}"):
        read_verdicts(file(tmp_path, row))


def test_the_store_tells_the_same_pairs_in_the_same_order_as_preferences(tmp_path: Path) -> None:
    """What a reward model learns from does not change with the file: the default objective stays bit for bit."""
    asked = Prompt("p", ASK)
    given = [Answer(name, "p", f"text {name}") for name in "abcd"]
    with Store.open(tmp_path / "store.db") as store:
        store.add_annotators([Annotator("ann"), Annotator("bob"), Annotator("cy")])
        store.add_prompts([asked])
        store.add_answers(given)
        store.submit(Ranking("p", "ann", (("b", "a"), ("c",), ("d",))))
        for name, score in zip("abcd", (5, 7, 3, 1), strict=True):
            store.submit(Rating("p", name, "ann", score))
        store.submit(Comparison("p", "d", "a", "bob", -2))
        store.submit(Comparison("p", "b", "c", "bob", 0))
        store.submit(PanelComparison("p", "a", "c", "bob", -1))
        store.submit(PlanChoice("p", "ann", ("a", "b", "d"), "d"))
        store.submit(Edit("p", "ann", "c", "text e"))
        for name, score in zip("ab", (6, 2), strict=True):
            store.submit(PanelRating("p", name, "cy", score))
        whole, pairs = list(verdicts.verdicts(store)), list(convert.preferences(store))
    assert [(v.source, v.ranks, v.ratings, v.strength) for v in whole] == [
        ("ann", (0, 0, 1, 2), (), 1.0),
        ("ann", (), (5.0, 7.0, 3.0, 1.0), 1.0),
        ("bob", (0, 1), (), 2.0),
        ("bob", (0, 0), (), 0.0),
        ("bob", (0, 1), (), 1.0),
        ("ann", (0, 1), (), 1.0),
        ("ann", (0, 1), (), 1.0),
        ("ann", (0, 1), (), 1.0),
        ("cy", (), (6.0, 2.0), 1.0),
    ]

    def told(found: list[Preference]) -> list[tuple[str, str, float, str]]:
        return [(p.chosen, p.rejected, p.strength, p.source) for p in found]

    assert told(preferences(whole)) == told(pairs)
    assert len(pairs) == 10
