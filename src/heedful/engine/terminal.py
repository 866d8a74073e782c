"""What a person sees while a stage runs: a bar with rate and remaining time, and one line of result."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False)


class Advance(Protocol):
    def __call__(self, done: int, note: str = "") -> None: ...


@contextmanager
def progress(name: str, total: int) -> Iterator[Advance]:
    """A bar that vanishes when done; `advance(done, note)` sets how far it is. Nothing without a terminal."""
    bar = Progress(
        TextColumn(f"{name:<10}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(name, total=total, note="")

        def advance(done: int, note: str = "") -> None:
            bar.update(task, completed=done, note=note)

        yield advance


def say(line: str) -> None:
    """Print one line to the person."""
    console.print(line, markup=False, soft_wrap=True)
