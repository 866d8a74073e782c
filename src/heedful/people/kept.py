"""Statistics that a page can show at once: the newest that were found, while newer ones are found behind."""

import threading
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import delete, insert, select

from heedful.data.store.connect import dump_json
from heedful.data.store.events import last_seq
from heedful.data.store.schema import figures
from heedful.data.store.store import Store
from heedful.people.figures import Statistics
from heedful.people.statistics import statistics

_READ = TypeAdapter(Statistics)


class Kept:
    """The statistics of one store, kept in it, so that they outlive the process.

    What is shown is as of the event that `Statistics.as_of` names. One thread at a time finds newer ones of a kind.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._guard = threading.Lock()
        self._finding: dict[str, threading.Thread] = {}

    def newest(self, *, patience: float = 1.0, **narrow: Any) -> Statistics:
        """The newest statistics that can be had within `patience` seconds; the very first may take longer.

        `narrow` is `batch`, `round`, `criterion`, `resamples`, `seed` of `statistics`.
        """
        question = dump_json({name: narrow[name] for name in sorted(narrow) if narrow[name] is not None})
        with self._store.reading() as connection:
            now = last_seq(connection)
        known = self._known(question)
        if known is None:
            return self._find(question, narrow)
        if known.as_of < now:
            with self._guard:
                thread = self._finding.get(question)
                if thread is None or not thread.is_alive():
                    thread = threading.Thread(target=self._find, args=(question, narrow), daemon=True)
                    self._finding[question] = thread
                    thread.start()
            thread.join(patience)
        return self._known(question) or known

    def _known(self, question: str) -> Statistics | None:
        with self._store.reading() as connection:
            found = connection.execute(select(figures.c.found).where(figures.c.question == question)).scalar()
        return None if found is None else _READ.validate_python(found)

    def _find(self, question: str, narrow: dict[str, Any]) -> Statistics:
        found = statistics(self._store, **narrow)
        row = {"question": question, "as_of": found.as_of, "found": found.json()}
        with self._store.writing() as connection:
            connection.execute(delete(figures).where(figures.c.question == question))
            connection.execute(insert(figures), [row])
        return found
