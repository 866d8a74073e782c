"""Preferences become trees: each answer once, each prompt one element, held out by prompt."""

import pytest

from heedful import World, train_bpe
from heedful.engine.pairs import compared, fits, split
from heedful.errors import UserError
from heedful.types import Message, Preference


def ask(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


TOKENIZER = train_bpe(list(World(0).corpus(50)), 400)
PREFERENCES = [
    Preference(ask("one"), "good", "bad"),
    Preference(ask("one"), "good", "worse"),
    Preference(ask("one"), "bad", "worse"),
    Preference(ask("two"), "yes", "no"),
    Preference(ask("two"), "same", "same"),
]


def test_an_answer_is_computed_once_and_a_prompt_weighs_one() -> None:
    found = compared(TOKENIZER, PREFERENCES, 100)
    assert [len(t.branches) for t in found.trees] == [3, 3]
    assert [[(p.chosen, p.rejected) for p in t.pairs] for t in found.trees] == [
        [(0, 1), (0, 2), (1, 2)],
        [(0, 1)],
    ]
    assert [sum(p.weight for p in t.pairs) for t in found.trees] == pytest.approx([1.0, 1.0])
    assert all(
        b.ids[-1] == TOKENIZER.eos_token_id and b.trained.all() for t in found.trees for b in t.branches
    )


def test_what_is_too_long_is_counted_and_nothing_left_is_an_error() -> None:
    long = Preference(ask("three"), "word " * 200, "no")
    assert compared(TOKENIZER, [*PREFERENCES, long], 60).too_long == 1
    assert not fits(TOKENIZER, long, 60)
    assert fits(TOKENIZER, long, 2000)
    with pytest.raises(UserError, match="none of the 1 preferences"):
        compared(TOKENIZER, [long], 60)


def test_the_split_is_by_prompt_and_does_not_depend_on_order() -> None:
    many = [Preference(ask(f"prompt {i % 300}"), f"a{i}", f"b{i}") for i in range(600)]
    train, heldout = split(many, 0.2, seed=0)
    assert {p.messages for p in train}.isdisjoint(p.messages for p in heldout)
    assert 0.1 < len(heldout) / len(many) < 0.3
    assert {p.messages for p in split(many[::-1], 0.2, seed=0)[1]} == {p.messages for p in heldout}
    assert {p.messages for p in split(many, 0.2, seed=1)[1]} != {p.messages for p in heldout}


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("ratio", [0.001, 0.5, 0.999])
def test_few_prompts_still_have_both_sides(n: int, ratio: float) -> None:
    few = [Preference(ask(f"prompt {i % n}"), "a", "b") for i in range(2 * n)]
    train, heldout = split(few, ratio, seed=0)
    assert {p.messages for p in train}.isdisjoint(p.messages for p in heldout)
    assert train
    assert heldout
    assert len(train) + len(heldout) == 2 * n


def test_one_prompt_cannot_be_split() -> None:
    with pytest.raises(UserError, match="1 prompts are too few"):
        split([Preference(ask("one"), "a", "b")] * 2, 0.5, seed=0)
