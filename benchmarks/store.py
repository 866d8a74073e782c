"""Fill a feedback store with N events and time what people wait for: `python benchmarks/store.py PATH [N]`.

A store that is there already is only measured. Twelve events a prompt: two annotators rank four answers and
rate two of them, four compare one pair and two another. Prints medians and 95th percentiles in milliseconds.
"""

import sys
import time
from pathlib import Path
from uuid import uuid4

import numpy as np

from heedful.data.store import Annotator, Store
from heedful.data.store.records import Judgement
from heedful.people import Assignment, BatchSettings, NewTask, Queue, Reply
from heedful.people.kept import Kept
from heedful.people.statistics import statistics
from heedful.types import Answer, Comparison, Message, Prompt, Ranking, Rating

PEOPLE = tuple(f"w{number}" for number in range(200))
CHUNK = 2000


def judgements(number: int, rng: np.random.Generator) -> list[Judgement]:
    """The twelve judgements of a prompt, drawn at random."""
    prompt = f"p{number}"
    answers = [f"{prompt}a{place}" for place in range(4)]
    who = [PEOPLE[place] for place in rng.choice(len(PEOPLE), 4, replace=False)]
    found: list[Judgement] = []
    for name in who[:2]:
        order = tuple((answers[place],) for place in rng.permutation(4))
        found.append(Ranking(prompt, name, order, seconds=float(rng.exponential(60))))
        found += [Rating(prompt, answers[place], name, int(rng.integers(1, 8))) for place in range(2)]
    for pair, names in ((answers[:2], who), (answers[2:], who[:2])):
        for name in names:
            choice = int(rng.integers(-3, 4))
            found.append(Comparison(prompt, *pair, name, choice, seconds=float(rng.exponential(20))))
    return found


def fill(store: Store, events: int) -> None:
    """Write about so many events, and a batch whose tasks wait."""
    prompts, rng = events // 12, np.random.default_rng(0)
    store.add_prompts(Prompt(f"p{i}", (Message("user", f"Question {i}?"),)) for i in range(prompts))
    store.add_answers(
        Answer(f"p{i}a{j}", f"p{i}", "x" * (10 + (i * 7 + j * 13) % 50), f"policy {j}")
        for i in range(prompts)
        for j in range(4)
    )
    store.add_annotators(Annotator(name) for name in PEOPLE)
    for start in range(0, prompts, CHUNK):
        numbers = range(start, min(prompts, start + CHUNK))
        store.submit_many([one for number in numbers for one in judgements(number, rng)])
    tasks = [NewTask(f"p{i}", (f"p{i}a0", f"p{i}a1")) for i in range(prompts)]
    Queue(store).create_batch("b", "b", BatchSettings("compare", overlap=3, gold_rate=0.1), tasks)


def measure(store: Store) -> None:
    """Time a working day's calls of fifty annotators, and the statistics."""
    queue = Queue(store)
    times: dict[str, list[float]] = {}

    def timed(name: str, act: object) -> object:
        began = time.perf_counter()
        found = act()  # type: ignore[operator]
        times.setdefault(name, []).append(1000 * (time.perf_counter() - began))
        return found

    for name in PEOPLE[:50]:
        found = timed("claim", lambda name=name: queue.claim(name))
        assert isinstance(found, Assignment)
        reply, version = Reply(choices={"overall": 1}), found.version
        timed(
            "submit",
            lambda name=name, task=found.task, reply=reply, version=version: queue.submit(
                name, task, reply, uuid=uuid4(), version=version, seconds=3.0
            ),
        )
        timed("mine", lambda name=name: queue.mine(name))
        timed("history", lambda name=name: queue.history(name))
        timed("progress", lambda: queue.progress("b"))
    kept = Kept(store)
    timed("statistics", lambda: statistics(store))
    kept.newest()
    queue.claim(PEOPLE[60])
    timed("statistics, kept", kept.newest)
    print(f"{store.counts()['events']} events")
    for name, values in times.items():
        print(f"{name:<18} median {np.median(values):10.1f} ms   95 % {np.quantile(values, 0.95):10.1f} ms")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    there = path.exists()
    with Store.open(path) as opened:
        if not there:
            fill(opened, int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
        measure(opened)
