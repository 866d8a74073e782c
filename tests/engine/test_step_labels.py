"""Step labels from rollouts: limits, determinism, and what is asked of the policy."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from engine.toy_rl import tokenizer
from heedful.data import chat
from heedful.engine.policy import Policy
from heedful.engine.sampler import Answered
from heedful.engine.sampling import Sample, Sampling
from heedful.engine.step_labels import labelled
from heedful.types import Message, Prompt, Solution

WORDS = tokenizer()
chat.ensure_chat_template(WORDS)
ASK = (Message("user", "a b"),)


@dataclass
class Chain:
    """A policy that ends with `d` in three of four continuations, never after an `i`."""

    context: int = 100
    asked: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tokenizer = WORDS
        self.model = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=self.context))

    def answer(self, prompts: Sequence[Any], how: Sampling, *, seed: Any, n: int) -> list[Answered]:
        self.asked += prompts
        empty = Sample(np.zeros(1, np.int64), np.zeros(1, np.float32), True)
        return [
            Answered(p.ids, (empty,) * n, tuple("e" if i % 4 == 0 else "d" for i in range(n)))
            for p in prompts
        ]


def judge(prompts: Sequence[Prompt], answers: Sequence[str]) -> list[dict[str, float]]:
    return [{"total": 0.0, "correct": float(a.endswith("d") and "i" not in a)} for a in answers]


def chances(labels: Any, *steps: str, **more: Any) -> tuple[float | None, ...]:
    solution = Solution(ASK, steps, labels=(1,))
    (found,) = labelled(Chain(**more), [solution], judge, Sampling(8), seed=0, labels=labels, separator=" ; ")  # type: ignore[arg-type]
    assert found.labels == ()
    return found.chances


def test_soft_labels_are_shares_and_the_last_step_is_the_outcome() -> None:
    assert chances("soft", "a", "b", "d") == (0.75, 0.75, 1.0)
    assert chances("soft", "a", "i", "d") == (0.75, 0.0, 0.0)
    assert chances("soft", "a", "b", "e") == (0.75, 0.75, 0.0)


def test_hard_labels_ask_whether_any_rollout_is_right() -> None:
    assert chances("hard", "a", "i", "d") == (1.0, 0.0, 0.0)


def test_a_beginning_without_room_for_a_continuation_says_nothing() -> None:
    longest = chances("soft", "a", "b", "c", "d")
    assert longest == (0.75, 0.75, 0.75, 1.0)
    prompt = len(chat.render_prompt(WORDS, ASK))
    first = len(chat.answer_ids(WORDS, "a ; ")) - 1
    assert chances("soft", "a", "b", "c", "d", context=prompt + first + 8) == (0.75, None, None, 1.0)


def test_the_policy_goes_on_from_the_tokens_that_the_reward_model_will_see() -> None:
    policy = Chain()
    solution = Solution(ASK, ("a b", "c", "d"))
    labelled(policy, [solution], judge, Sampling(8), seed=0, rollouts=2, separator=" ; ")  # type: ignore[arg-type]
    parts = [chat.answer_ids(WORDS, step + " ; ")[:-1] for step in solution.steps[:2]]
    prompt = chat.render_prompt(WORDS, ASK)
    assert [p.ids for p in policy.asked] == [prompt + parts[0], prompt + parts[0] + parts[1]]
    assert len({p.id for p in policy.asked}) == 2


def test_with_a_real_policy_labels_do_not_depend_on_what_else_is_labelled() -> None:
    import tiny

    config = tiny.configs()["llama"]
    config.vocab_size, config.eos_token_id = len(WORDS), 2
    policy = Policy(tiny.model(config), WORDS)
    given = [Solution(ASK, ("a", "b", "c")), Solution((Message("user", "c"),), ("d", "e"))]

    def says(prompts: Sequence[Prompt], answers: Sequence[str]) -> list[dict[str, float]]:
        return [{"total": float(len(a) % 2)} for a in answers]

    together = labelled(policy, given, says, Sampling(6), seed=3)
    alone = [labelled(policy, [s], says, Sampling(6), seed=3)[0] for s in given]
    assert together == alone
    assert {c for s in together for c in s.chances} <= {i / 8 for i in range(9)}
    assert together != labelled(policy, given, says, Sampling(6), seed=4)
