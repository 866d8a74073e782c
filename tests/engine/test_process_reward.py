"""Process rewards: what is supervised, the score of a whole solution, and rewards at the policy's tokens."""

from typing import Any

import numpy as np
import pytest
import torch

import tiny
from engine.toy_rl import LETTERS, WORDS, tokenizer
from heedful import World, train_bpe
from heedful.data import chat
from heedful.engine.batch import collate
from heedful.engine.fit import fit
from heedful.engine.optim import Optimizer
from heedful.engine.process_reward import (
    ProcessRewardModel,
    at_tokens,
    solution_trees,
    step_rewards,
    whole,
)
from heedful.engine.score import columns, use_packed_attention
from heedful.engine.scorer import StepScore
from heedful.errors import UserError
from heedful.losses.reward import process
from heedful.nn.hub import scorer_from
from heedful.types import Message, Prompt, Solution

LETTER = tokenizer()
chat.ensure_chat_template(LETTER)
BPE = train_bpe(list(World(0).corpus(50)), 400)
ASK = (Message("user", "a b"),)


def plain(vocabulary: int = len(WORDS)) -> Any:
    config = tiny.configs()["llama"]
    config.vocab_size = vocabulary
    return scorer_from(tiny.model(config), seed=0)


def scorer(vocabulary: int = len(WORDS)) -> Any:
    made = plain(vocabulary)
    use_packed_attention(made)
    return made


def test_only_the_ends_of_steps_up_to_the_first_error_are_supervised() -> None:
    given = [
        Solution(ASK, ("a b", "c", "d e f"), (1, -1, 1)),
        Solution(ASK, ("a", "b"), (None, 0)),
        Solution(ASK, ("a", "b")),
    ]
    (tree,) = solution_trees(LETTER, given, 100, separator=" ; ").trees
    first, second = tree.branches
    assert first.trained.tolist() == [False] * (len(first.ids) - 1 - 2) + [True, False, True]
    assert first.columns["step_label"].tolist() == [1.0, 0.0]
    assert second.columns["step_label"].tolist() == [1.0]
    assert second.trained.tolist() == [False] * (len(second.ids) - 1) + [True]
    with pytest.raises(UserError, match="1 have no label, 0 are longer"):
        solution_trees(LETTER, given[2:], 100, separator="\n")


def test_a_step_is_judged_at_its_own_last_token_whatever_follows() -> None:
    """By transformers alone on each beginning of the solution: what comes later changes nothing."""
    model, given = scorer(), Solution(ASK, ("a b", "c", "d e f"), (1, 1, 1))
    (tree,) = solution_trees(LETTER, [given], 100, separator=" ; ").trees
    packed = collate([tree])
    found = columns(model, packed, ["step_score"])["step_score"]
    ids = np.concatenate([tree.prompt.ids, tree.branches[0].ids])
    ends = len(tree.prompt.ids) + np.flatnonzero(tree.branches[0].trained)
    alone, expected = plain(), []
    for end in ends:
        hidden = alone.base_model(torch.tensor(ids[None, : end + 1])).last_hidden_state[0, -1]
        expected.append((hidden @ alone.score.weight[0]).item())
    assert found.tolist() == pytest.approx(expected, abs=2e-5)


def test_the_score_of_a_solution_by_hand() -> None:
    steps = [0.9, 0.5, 0.8]
    assert whole(steps, "product") == pytest.approx(0.36)
    assert (whole(steps, "minimum"), whole(steps, "last"), whole([], "product")) == (0.5, 0.8, 0.0)


def test_scores_are_made_of_the_steps_and_their_places_are_in_the_text() -> None:
    model = ProcessRewardModel(scorer(len(BPE)), BPE, how="minimum")
    prompt, text = Prompt("p", (Message("user", "Who has the lamp?"),)), "The lamp is here.\n\nAnna has it."
    ((one, none),) = model.steps([prompt], [[text, ""]])
    assert [text[: s.end].split("\n")[-1] for s in one] == ["The lamp is here.", "Anna has it."]
    assert none == ()
    assert model.scores([prompt], [[text, ""]]) == [[min(s.probability for s in one), 0.0]]
    # Beside another answer, and cut after the first step, the first step is worth the same.
    ((first,),) = model.steps([prompt], [["The lamp is here."]])
    assert first[0].probability == pytest.approx(one[0].probability, abs=1e-6)


def test_rewards_stand_on_the_policys_tokens_that_complete_the_steps() -> None:
    class Fixed(ProcessRewardModel):
        def __init__(self) -> None:
            pass

        def steps(self, prompts: Any, answers: Any) -> Any:
            return [[(StepScore(5, 0.25), StepScore(9, 0.5)) for _ in row] for row in answers]

    ids = np.asarray([WORDS.index(letter) for letter in "abcde"] + [WORDS.index("</s>")])
    text = LETTER.decode(ids, skip_special_tokens=True)
    assert text == "a b c d e"
    (row,) = step_rewards(Fixed(), [Prompt("p", ASK)], [[text]], LETTER, [ids])
    # "a b c" has 5 characters and ends with the third letter, the whole 9 with the fifth; the EOS gets nothing.
    assert row.tolist() == [0, 0, 0.25, 0, 0.5, 0]
    # Another tokenizer: the sum is kept, and each value lies where the text is complete.
    sentence = "The lamp is here.\nAnna has it."
    other = np.asarray(chat.answer_ids(BPE, sentence))
    found = at_tokens(BPE, other, [(17, 1.0), (len(sentence), 2.0)])
    places = np.flatnonzero(found).tolist()
    assert found[places].tolist() == [1.0, 2.0]
    for place, end in zip(places, (17, len(sentence)), strict=True):
        assert len(BPE.decode(other[:place])) < end <= len(BPE.decode(other[: place + 1]))


def test_it_learns_which_steps_are_wrong() -> None:
    """Chains of letters in which the letter i is the error: after training every first error is found."""
    rng = np.random.default_rng(0)
    given = []
    for _ in range(60):
        steps = [LETTERS[k] for k in rng.integers(0, 9, 4)]
        given.append(Solution(ASK, tuple(steps), tuple(-1 if s == "i" else 1 for s in steps)))
    trees = solution_trees(LETTER, given, 400, separator=" ;").trees
    model = scorer()
    optimizer = Optimizer(model, learning_rate=1e-2)
    steps = list(fit(model, ([collate(trees)] for _ in range(30)), process, optimizer))
    assert steps[-1].loss < 0.2 * steps[0].loss
    judge = ProcessRewardModel(model, LETTER, separator=" ;", how="product")
    good, bad = judge.scores([Prompt("p", ASK)], [["b ;c ;d", "b ;i ;d"]])[0]
    assert bad < 0.2 < 0.5 < good
