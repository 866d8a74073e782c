"""Which prompts are asked in which words: passes, a curriculum, small changes, and groups that teach nothing."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from engine.toy_rl import PROMPTS, Share, collected, rollouts
from heedful.engine.asking import CHANGES, easiest_first, in_other_words, open_to, taken
from heedful.engine.sampling import Sampling
from heedful.errors import UserError
from heedful.types import Message, Prompt


def test_every_pass_takes_everything_once_in_another_order() -> None:
    found = taken(5, range(15), 3)
    passes = [found[i : i + 5] for i in (0, 5, 10)]
    assert all(sorted(p) == [0, 1, 2, 3, 4] for p in passes)
    assert len(set(map(tuple, passes))) == 3
    assert taken(5, range(7, 12), 3) == found[7:12]


@pytest.mark.parametrize(("iteration", "expected"), [(0, 25), (1, 50), (2, 75), (3, 100), (9, 100)])
def test_a_curriculum_opens_evenly(iteration: int, expected: int) -> None:
    assert open_to(100, 8, iteration, 4) == expected
    assert open_to(100, 8, iteration, 0) == 100


def test_a_curriculum_never_opens_less_than_a_step_needs() -> None:
    assert open_to(100, 40, 0, 10) == 40
    assert open_to(6, 8, 0, 10) == 6


def test_the_easiest_come_first_by_column_or_by_what_the_policy_earns() -> None:
    toy = rollouts()
    numbered = [replace(p, columns={"difficulty": -i}) for i, p in enumerate(PROMPTS)]
    how = Sampling(8)
    found = easiest_first(numbered, toy.policy, Share(), how, seed=0, n=2)
    assert found == numbered[::-1]
    measured = easiest_first(PROMPTS, toy.policy, Share(), how, seed=0, n=4)
    answered = toy.policy.answer(measured, how, seed=(0, "difficulty"), n=4)
    means = [sum(map(Share().of, a.texts)) / 4 for a in answered]
    assert means == sorted(means, reverse=True)
    assert len(set(means)) > 3
    with pytest.raises(UserError, match="difficulty"):
        easiest_first([numbered[0], PROMPTS[1]], toy.policy, Share(), how, seed=0, n=2)


def test_with_a_curriculum_early_iterations_ask_the_easy_ones_only() -> None:
    toy = rollouts(prompts_per_step=5, curriculum=4)
    asked = [{p.id for p in toy.chosen_prompts(i)} for i in range(8)]
    assert asked[0] == {p.id for p in PROMPTS[:5]}
    assert asked[1] <= {p.id for p in PROMPTS[:10]}
    assert set().union(*asked) == {p.id for p in PROMPTS}


def test_words_change_and_what_is_asked_stays() -> None:
    prompt = Prompt("p", (Message("user", "Where did Mina live?"),))
    said = {name: change(prompt.messages[0].content, Random(0)) for name, change in CHANGES.items()}
    assert said["lowercase"] == "where did mina live?"
    assert said["unpunctuated"] == "Where did Mina live"
    assert sorted(said["typo"]) == sorted("Where did Mina live?") != list("Where did Mina live?")
    assert said["spaces"].replace("  ", " ") == "Where did Mina live?" != said["spaces"]
    found = [in_other_words(replace(prompt, id=str(i)), ("lowercase",), 0.5, 0, 1) for i in range(400)]
    changed = sum(p.messages[0].content != "Where did Mina live?" for p in found)
    assert 150 < changed < 250
    assert found[3] == in_other_words(replace(prompt, id="3"), ("lowercase",), 0.5, 0, 1)
    assert in_other_words(prompt, (), 1.0, 0) == prompt
    assert CHANGES["typo"]("7", Random(0)) == "7"
    assert (
        in_other_words(Prompt("q", (Message("user", "?"),)), ("unpunctuated",), 1.0, 0).messages[0].content
        == "?"
    )


def test_the_policy_reads_the_changed_prompt_and_the_reward_the_original() -> None:
    seen: list[str] = []

    class Watching(Share):
        def scores(self, prompts: Any, answers: Any) -> Any:
            seen.extend(p.messages[-1].content for p in prompts)
            return super().scores(prompts, answers)

    toy = rollouts(reward=Watching(), augment=("spaces",), augment_ratio=1.0, prompts_per_step=4)
    toy.prompts = [replace(p, messages=(Message("user", "a b c"),)) for p in PROMPTS]
    asked: list[str] = []
    answer = toy.policy.answer

    def listening(prompts: Any, *args: Any, **kwargs: Any) -> Any:
        asked.extend(p.messages[-1].content for p in prompts)
        return answer(prompts, *args, **kwargs)

    toy.policy.answer = listening  # type: ignore[method-assign]
    next(toy.batches(1))
    assert seen == ["a b c"] * 4
    assert len(asked) == 4
    assert all(len(text) == 6 for text in asked)


def test_groups_that_teach_nothing_make_room_and_are_counted() -> None:
    shape = {"reward": Share("a"), "advantage": "group", "epochs": 1, "minibatches": 1, "prompts_per_step": 4}
    toy, plain = rollouts(dynamic_sampling=4, **shape), rollouts(**shape)
    rows = collected(toy)
    collected(plain)
    assert plain.metrics["frac_reward_zero_std"] > 0
    assert toy.metrics["frac_reward_zero_std"] == 0
    assert toy.metrics["dynamic/alike"] > 0
    assert toy.metrics["dynamic/asked"] == toy.metrics["dynamic/unused"] + 4
    assert len(rows) == 16
    assert all(row.advantage.any() for row in rows[::4])


def test_where_all_earn_the_same_the_step_is_still_as_large() -> None:
    toy = rollouts(
        reward=Share(""), advantage="group", dynamic_sampling=2, epochs=1, minibatches=1, prompts_per_step=4
    )
    assert len(collected(toy)) == 16
    assert toy.metrics["dynamic/alike"] == toy.metrics["dynamic/asked"] == 8
