"""Other rows beside those of a step: a second stream with a term and a denominator of its own."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from heedful.engine.asking import taken
from heedful.engine.batch import Packed, Tree, microbatches


def beside(
    batches: Iterable[list[Packed]],
    trees: Sequence[Tree],
    *,
    stream: str,
    per_step: int,
    seed: int,
    place: Callable[[], int],
    token_budget: int,
) -> Iterator[list[Packed]]:
    """Add `per_step` of the trees to every step as rows of `stream`, in passes over them in a fresh order each.

    `place` is the step's number, asked when its batch is: which trees it gets depends on that and the seed alone.
    """
    for batch in batches:
        first = place() * per_step
        chosen = [trees[i] for i in taken(len(trees), range(first, first + per_step), seed)]
        yield [*batch, *(replace(p, stream=stream) for p in microbatches(chosen, token_budget))]
