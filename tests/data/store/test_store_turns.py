"""Writers of one process are served in the order in which they came."""

import threading
import time

from heedful.data.store.turns import Turns


def test_first_come_first_served() -> None:
    turns, order = Turns(), []
    arrived = [threading.Event() for _ in range(6)]

    def work(number: int) -> None:
        arrived[number].set()
        with turns.turn():
            order.append(number)

    with turns.turn():
        threads = []
        for number in range(6):
            thread = threading.Thread(target=work, args=(number,))
            thread.start()
            arrived[number].wait()
            while len(turns._waiting) <= number:
                time.sleep(0.001)
            threads.append(thread)
    for thread in threads:
        thread.join()
    assert order == list(range(6))


def test_a_fault_passes_the_turn_on() -> None:
    turns = Turns()
    try:
        with turns.turn():
            raise ValueError
    except ValueError:
        pass
    with turns.turn():
        assert turns._busy
    assert not turns._busy
