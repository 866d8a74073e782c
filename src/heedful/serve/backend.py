"""What moves the models of a server, wherever it runs: this process, or vLLM behind the same interface."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

from heedful.data.spelling import Spelling
from heedful.engine.grammar import Constraints
from heedful.engine.likelihood import TokenLogp
from heedful.engine.stream import Ask
from heedful.serve.worker import Piece

Result = TypeVar("Result")


@dataclass
class Served:
    """A model as clients see it: its name, its text side, and its limits in tokens.

    `parent` is the model that an adapter is of; `fingerprint` tells the contents of its folder.
    """

    name: str
    tokenizer: Any
    stop: tuple[int, ...]
    context: int
    longest: int
    vocabulary: int
    created: int
    parent: str | None = None
    fingerprint: str = ""

    @cached_property
    def spelling(self) -> Spelling:
        return Spelling(self.tokenizer)

    @cached_property
    def constraints(self) -> Constraints:
        return Constraints(self.tokenizer, self.stop)


class Answering(Protocol):
    """Answers under way: iterate for what was written since the last time."""

    def __aiter__(self) -> AsyncIterator[list[Piece]]: ...


class Backend(Protocol):
    """What the routes need of an engine; every method but `start` and `close` is called in the event loop."""

    @property
    def models(self) -> Mapping[str, Served]: ...
    @property
    def rewards(self) -> Mapping[str, str]:
        """The reward models by name, with the fingerprints of their folders."""
        ...

    def start(self) -> None: ...
    def close(self) -> None: ...
    @property
    def alive(self) -> bool: ...
    def submit(self, model: str, asks: Sequence[Ask], stop: Sequence[str] = ()) -> Answering:
        """Begin to answer; raises `Busy` where the queue has no room."""
        ...

    def cancel(self, answering: Any) -> None: ...
    async def logps(self, model: str, texts: Sequence[Sequence[int]], top: int) -> list[list[TokenLogp]]: ...
    async def embed(self, model: str, texts: Sequence[Sequence[int]]) -> list[list[float]]: ...
    async def reward(self, name: str, work: Callable[[Any], Result]) -> Result:
        """Let `work(reward model)` be computed."""
        ...
