"""One answer of a model in this process, piece by piece as it is written."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from heedful.data.spelling import Writer
from heedful.engine.compiled import compiled
from heedful.engine.policy import Policy
from heedful.engine.sampler import Asked, keys, prompt_ids
from heedful.engine.sampling import Sampling
from heedful.engine.stream import Ask, Drawn, Stream


def pieces(policy: Policy, prompt: Asked, how: Sampling, *, seed: Sequence[Any]) -> Iterator[str]:
    """The first answer that `policy.answer` gives with this seed, in pieces; joined and stripped it is that text.

    A policy whose answers something else writes gives the whole at once. Strings that stop, grammars and beams are
    for `answer`.
    """
    if policy.sampler is not None:
        yield policy.sampler.answer([prompt], how, seed=seed)[0].texts[0]
        return
    ids = tuple(prompt_ids(policy.tokenizer, prompt))
    (key,) = keys(prompt, how, seed, 1)
    longest = how.max_completion_length
    ask = Ask(ids, key, how, longest, frozenset((*policy.stop, *how.stop_token_ids)))
    stream = Stream(policy.model, slots=1, prompt_room=len(ids), answer_room=longest)
    writer = Writer(policy.tokenizer)

    def drawn(draw: Callable[[], list[Drawn]]) -> Drawn:
        # Not around the loop: whoever takes the pieces may compute between them.
        with torch.no_grad(), compiled(policy.model):
            (token,) = draw()
        return token

    token = drawn(lambda: stream.join({0: ask}))
    while token.end != "stop":
        yield writer.take(token.token)
        if token.end:
            break
        token = drawn(stream.step)
    yield writer.rest()
