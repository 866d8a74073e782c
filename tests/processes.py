"""Several processes of one training, on this machine."""

import os
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from torch.distributed import TCPStore

from faults.lives import CONTEXT


def together(size: int, function: Callable[..., Any], *args: Any) -> tuple[list[int], str]:
    """Run `function` in so many processes, in torchrun's environment; their exit codes, and what they said."""
    meeting = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with tempfile.NamedTemporaryFile("r") as said:
        started = [
            CONTEXT.Process(target=_one, args=(rank, size, meeting.port, said.name, function, args))
            for rank in range(size)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join()
        words = said.read()
    print(words)  # shown by pytest if the test fails
    return [int(process.exitcode or 0) for process in started], words


def _one(rank: int, size: int, port: int, said: str, function: Callable[..., Any], args: Any) -> None:
    import torch

    torch.set_num_threads(1)
    file = os.open(said, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    os.environ |= {name: str(number) for name, number in {**numbers, "MASTER_PORT": port}.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": "True", "OMP_NUM_THREADS": "1"}
    try:
        function(*args)
    finally:
        sys.stderr.flush()
