"""Examples with heavy-tailed lengths, as token ids, and how much arithmetic each work needs on them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heedful.bench.models import EOS, FIRST_WORD, Shape

ANSWERS = 6
PROMPT = (20, 120)
ANSWER = (10, 250)


def lengths(random: np.random.Generator, n: int) -> NDArray[np.int64]:
    """Answer lengths: log-normal with median 60, between 10 and 250."""
    return np.clip(np.exp(random.normal(np.log(60), 0.8, n)), *ANSWER).astype(np.int64)


def examples(n: int, vocabulary: int, seed: int) -> list[dict[str, Any]]:
    """`n` prompts with six answers each, best first; the first n do not depend on how many follow."""
    random = np.random.default_rng(seed)
    return [
        {
            "prompt": _words(random, int(random.integers(PROMPT[0], PROMPT[1] + 1)), vocabulary),
            "answers": [[*_words(random, int(k) - 1, vocabulary), EOS] for k in lengths(random, ANSWERS)],
        }
        for _ in range(n)
    ]


def _words(random: np.random.Generator, n: int, vocabulary: int) -> list[int]:
    found: list[int] = random.integers(FIRST_WORD, vocabulary, n).tolist()
    return found


def needed_flops(shape: Shape, found: Sequence[dict[str, Any]], work: str) -> float:
    """Floating-point operations that a training work needs on examples, whoever does it.

    2 a parameter and token forward, 4 backward; a prompt counts once for all its answers, the head only where
    something is predicted, causal attention by what is seen; DPO's reference costs a forward pass. Padding,
    repeated prompts and unused logits are not needed, so they lower the share of the ceiling.
    """
    k = {"sft": 1, "dpo": 2, "reward": ANSWERS}[work]
    total = 0.0
    for example in found:
        p = len(example["prompt"])
        answers = [len(a) for a in example["answers"][:k]]
        seen = p * (p + 1) / 2 + sum(n * p + n * (n + 1) / 2 for n in answers)
        head = 0 if work == "reward" else shape.head_parameters * sum(answers)
        total += 2 * (shape.layer_parameters * (p + sum(answers)) + head)
        total += 4 * shape.layers * shape.hidden * seen
    return total * (4 if work == "dpo" else 3)
