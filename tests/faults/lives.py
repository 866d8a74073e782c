"""Processes that die on purpose: each life runs a function in a fresh process and may be killed at a chosen point.

Lives are forked from a server that has imported torch and done nothing else, so that a life costs no start.
"""

import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any

CONTEXT: ForkServerContext = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["heedful.loop", "heedful.stages.rl", "heedful.stages.feedback"])

KILLED = -signal.SIGKILL
_DURABLE = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}


def live(function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Run `function` in a process of its own and return its exit code (negative: the signal that ended it)."""
    with tempfile.NamedTemporaryFile("r") as errors:
        code = ended(start(errors.name, function, *args, **kwargs))
        print(errors.read())  # shown by pytest if the test fails
    return code


def start(errors: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> BaseProcess:
    """Begin to run `function` in a process of its own; what it says goes to the file `errors`."""
    process = CONTEXT.Process(target=_quietly, args=(errors, function, args, kwargs))
    process.start()
    return process


def ended(process: BaseProcess) -> int:
    """Wait for the end of a process and return its exit code."""
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def killed_after(seconds: float, function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Run `function`, and kill its process when `seconds` have passed."""
    process = start(os.devnull, function, *args, **kwargs)
    process.join(seconds)
    process.kill()
    return ended(process)


def killed_at_call(n: int, target: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Run `function`, and kill its process just before the n-th call of `target`: "package.module:Class.name"."""
    return live(_with_trap, n, target, function, args, kwargs)


def killed_at_write(n: int, function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """Run `function`, and kill its process just before the n-th thing that it does to a disk.

    Those are fsync, rename, unlink, mkdir, rmdir and every opening of a file for writing.
    """
    return live(_with_disk_trap, n, function, args, kwargs)


def _quietly(
    errors: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    import torch

    torch.set_num_threads(1)
    with open(errors, "w") as file:
        os.dup2(file.fileno(), 2)
    function(*args, **kwargs)


class Trap:
    """Kills this process at the n-th time that it is sprung."""

    def __init__(self, n: int) -> None:
        self.left = n

    def spring(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _with_trap(
    n: int, target: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    module, _, path = target.partition(":")
    *parents, name = path.split(".")
    owner = importlib.import_module(module)
    for parent in parents:
        owner = getattr(owner, parent)
    original, trap = getattr(owner, name), Trap(n)

    def sprung(*a: Any, **k: Any) -> Any:
        trap.spring()
        return original(*a, **k)

    setattr(owner, name, sprung)
    function(*args, **kwargs)


def _with_disk_trap(
    n: int, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    trap, fsync = Trap(n), os.fsync

    def synced(handle: int) -> None:
        trap.spring()
        fsync(handle)

    def watched(event: str, details: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR)
        if event in _DURABLE or writes:
            trap.spring()

    os.fsync = synced
    sys.addaudithook(watched)
    function(*args, **kwargs)
