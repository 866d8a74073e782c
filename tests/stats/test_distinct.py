"""How much answers to different prompts share."""

import math

from heedful.stats.distinct import distinct


def test_an_answer_to_every_prompt_is_not_distinct() -> None:
    assert distinct([[1, 2, 3]] * 4, ["a"] * 4) == [0.0] * 4
    assert distinct([[1, 2, 3], [4, 5, 6]], ["a", "a"]) == [1.0, 1.0]


def test_overlap_is_of_pairs_of_tokens_within_a_group() -> None:
    # {12, 23} and {12, 24} share one of three pairs; the other group does not count.
    found = distinct([[1, 2, 3], [1, 2, 4], [1, 2, 3]], ["a", "a", "b"])
    assert found[:2] == [1 - 1 / 3] * 2
    assert math.isnan(found[2])
    # Shorter than a pair: the answer itself.
    assert distinct([[7], [7], [8]], ["a"] * 3) == [0.5, 0.5, 1.0]
