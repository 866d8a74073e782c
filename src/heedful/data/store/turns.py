"""A lock that serves those who wait in the order in which they came."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """One at a time, first come, first served; a plain lock lets a busy thread in again before all others."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._busy = False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for one's turn, and hold it for the block."""
        mine = threading.Lock()
        mine.acquire()
        with self._guard:
            free = not self._busy
            self._busy = True
            if not free:
                self._waiting.append(mine)
        if not free:
            self._wait(mine)
        try:
            yield
        finally:
            self._pass_on()

    def _wait(self, mine: threading.Lock) -> None:
        try:
            mine.acquire()
        except BaseException:
            # Interrupted: the place is given up, or, if it was just given, passed on.
            with self._guard:
                given = mine not in self._waiting
                if not given:
                    self._waiting.remove(mine)
            if given:
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._busy = False
