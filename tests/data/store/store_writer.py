"""A process that submits ratings from four threads and prints the UUID of each that was acknowledged.

Its judgements and their UUIDs depend on nothing but their number, as those of a replayed feedback stage do.
"""

import sys
import threading
from uuid import UUID

from heedful.data.store import Store, event_id
from heedful.types import Rating

THREADS = 4


def judgement(thread: int, number: int) -> tuple[UUID, Rating]:
    rating = Rating("p0", "p0-a", "ann", 1 + number % 7, f"{thread}/{number}")
    return event_id("writer", thread, number), rating


def submit_all(store: Store, thread: int, limit: int) -> None:
    for number in range(limit):
        uuid, rating = judgement(thread, number)
        event = store.submit(rating, uuid=uuid)
        # One write, so that lines of different threads never mix.
        sys.stdout.write(f"{event.id}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    with Store.open(sys.argv[1], create=False) as opened:
        threads = [
            threading.Thread(target=submit_all, args=(opened, thread, int(sys.argv[2])))
            for thread in range(THREADS)
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
