"""The view of current judgements, against a model of it in a few lines, over random histories."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from store_kit import fill

from heedful.data.store import Store
from heedful.types import Comparison, Rating

RATINGS = st.builds(
    Rating,
    st.just("p0"),
    st.sampled_from(["p0-a", "p0-b"]),
    st.sampled_from(["ann", "bo"]),
    st.integers(1, 7),
    st.sampled_from(["overall", "honest"]),
)
COMPARISONS = st.builds(
    lambda pair, who, preference: Comparison("p0", *pair, who, preference),
    st.permutations(["p0-a", "p0-b"]),
    st.sampled_from(["ann", "bo"]),
    st.integers(-3, 3),
)
HISTORIES = st.lists(RATINGS | COMPARISONS | st.integers(0, 30), max_size=25)


def question(judgement: Rating | Comparison) -> tuple[object, ...]:
    if isinstance(judgement, Rating):
        return judgement.annotator, judgement.answer_id, judgement.criterion
    return judgement.annotator, frozenset((judgement.first, judgement.second))


@settings(max_examples=30, deadline=None)
@given(HISTORIES)
def test_current_judgements_are_the_last_that_stand(history: list[Rating | Comparison | int]) -> None:
    """A number n takes back the n-th submission, if it is there and stands."""
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "f.db") as store:
        fill(store)
        events = []
        standing: dict[int, Rating | Comparison] = {}
        for step in history:
            if not isinstance(step, int):
                standing[len(events)] = step
                events.append(store.submit(step))
            elif step in standing:
                store.undo(events[step].id, standing.pop(step).annotator)
        last = {question(judgement): n for n, judgement in standing.items()}
        expected = [(events[n], standing[n]) for n in sorted(last.values())]
        assert list(store.judgements()) == expected
