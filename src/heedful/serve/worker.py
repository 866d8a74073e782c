"""The one thread that moves models: it admits answers while others run, one step of all of them at a time."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple, TypeVar

import torch

from heedful.data.spelling import Writer
from heedful.engine.stream import Ask, Drawn, End, Stream
from heedful.serve.metrics import Metrics

Result = TypeVar("Result")

PATIENCE = 8
"""Steps that a request waits at most for others to be computed with it, as long as there is a free slot."""

_log = logging.getLogger(__name__)


class Busy(Exception):
    """The queue is full."""


class Failed(Exception):
    """The engine failed while it wrote this answer."""


class Piece(NamedTuple):
    """What a token added to an answer, by its number: text that is certain, and why it ended, if it did."""

    answer: int
    text: str
    token: int
    end: End
    logp: float | None
    top: tuple[tuple[int, float], ...]


@dataclass(eq=False)
class Ticket:
    """Answers that are wanted together; iterate to get what was written since the last time."""

    asks: Sequence[Ask]
    loop: asyncio.AbstractEventLoop
    stop: tuple[str, ...] = ()
    created: float = field(default_factory=time.monotonic)
    pieces: list[Piece] = field(default_factory=list)
    began: bool = False
    left: int = field(init=False)
    failure: str = ""
    _ready: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.left = len(self.asks)

    def deliver(self, pieces: Sequence[Piece], failure: str = "") -> None:
        """Called in the event loop."""
        self.pieces += pieces
        self.left -= sum(bool(p.end) for p in pieces)
        self.failure = failure
        self._ready.set()

    async def __aiter__(self) -> AsyncIterator[list[Piece]]:
        while self.left or self.pieces:
            await self._ready.wait()
            self._ready.clear()
            found, self.pieces = self.pieces, []
            if found:
                yield found
            if self.failure:
                raise Failed(self.failure)


@dataclass(eq=False)
class Lane:
    """A model's answers: those that wait, and those that are written; `select` makes the weights this model's."""

    make: Callable[[], Stream]
    tokenizer: Any
    select: Callable[[], None] = lambda: None
    waiting: deque[tuple[Ticket, int]] = field(default_factory=deque)
    running: dict[int, tuple[Ticket, int, Writer]] = field(default_factory=dict)
    waited: int = 0
    stream: Stream = field(init=False)

    def __post_init__(self) -> None:
        self.stream = self.make()


class Worker:
    """Starts its thread with `start`; everything else may be called from any thread."""

    def __init__(
        self, lanes: Mapping[str, Lane], metrics: Metrics, *, queue: int, prefill_tokens: int = 4096
    ) -> None:
        self.lanes, self.metrics, self.queue, self.prefill_tokens = lanes, metrics, queue, prefill_tokens
        self._turn = threading.Condition()
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._gone: set[Ticket] = set()
        self._closing = False
        self._ids = count()
        self._threads = torch.get_num_threads()
        self._thread = threading.Thread(target=self._run, name="heedful-serve", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; what is not finished fails."""
        with self._turn:
            self._closing = True
            self._turn.notify()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def submit(self, lane: str, asks: Sequence[Ask], stop: Sequence[str] = ()) -> Ticket:
        """Queue answers from within the event loop that will read them. Raises `Busy` where there is no room."""
        ticket = Ticket(asks, asyncio.get_running_loop(), tuple(stop))
        with self._turn:
            if self._closing or len(asks) > self.queue - self.depth:
                raise Busy
            self.lanes[lane].waiting += [(ticket, i) for i in range(len(asks))]
            self.metrics.prompt_tokens.add(sum(len(a.prompt) for a in asks))
            self._turn.notify()
        return ticket

    def call(self, work: Callable[[], Result]) -> "asyncio.Future[Result]":
        """Let the thread compute something between two steps. Raises `Busy` where too much waits already."""
        future: Future[Result] = Future()
        with self._turn:
            if self._closing or len(self._calls) >= self.queue:
                raise Busy
            self._calls.append((future, work))
            self._turn.notify()
        return asyncio.wrap_future(future)

    def cancel(self, ticket: Ticket) -> None:
        """Forget what of these answers is not written yet. After the end this does nothing."""
        if ticket.left or ticket.pieces:
            with self._turn:
                self._gone.add(ticket)
                self._turn.notify()

    @property
    def depth(self) -> int:
        """How many answers wait for a slot."""
        return sum(len(lane.waiting) for lane in self.lanes.values())

    @property
    def running(self) -> int:
        """How many answers are being written."""
        return sum(len(lane.running) for lane in self.lanes.values())

    @property
    def calls(self) -> int:
        """How many computations wait."""
        return len(self._calls)

    def _run(self) -> None:
        torch.set_num_threads(self._threads)  # which every thread has for itself
        with torch.inference_mode():
            while True:
                with self._turn:
                    self._turn.wait_for(self._has_work)
                    if self._closing:
                        break
                    gone, self._gone = self._gone, set()
                    call = self._calls.popleft() if self._calls else None
                    for lane in self.lanes.values():
                        self._forget(lane, gone)
                if call is not None:
                    _complete(*call)
                for lane in self.lanes.values():
                    if lane.waiting or lane.running:
                        self._advance(lane)
        for lane in self.lanes.values():
            self._fail(lane, "the server is shutting down", waiting=True)
        for future, _ in self._calls:
            future.cancel()

    def _has_work(self) -> bool:
        return bool(self._closing or self._gone or self._calls or self.depth or self.running)

    def _forget(self, lane: Lane, gone: set[Ticket]) -> None:
        if not gone:
            return
        kept = [item for item in lane.waiting if item[0] not in gone]
        ids = [n for n, (ticket, *_) in lane.running.items() if ticket in gone]
        self.metrics.cancelled.add(len(lane.waiting) - len(kept) + len(ids))
        lane.waiting = deque(kept)
        lane.stream.leave(ids)
        for number in ids:
            del lane.running[number]

    def _advance(self, lane: Lane) -> None:
        """One step of the answers that run, then those that wait join; a fault ends what it hit, and no more."""
        try:
            lane.select()
            began = time.monotonic()
            drawn = lane.stream.step()
            drawn += lane.stream.join(self._admitted(lane))
            self.metrics.step_seconds.observe(time.monotonic() - began)
        except Exception:
            _log.exception("a step failed; its answers end with an error")
            self._fail(lane, "the engine failed while it wrote this answer")
            lane.stream = lane.make()
            return
        self._hand_out(lane, drawn)

    def _admitted(self, lane: Lane) -> dict[int, Ask]:
        """Who joins now. A prompt computed by itself costs a call of the model, so a few are waited for."""
        free = lane.stream.free
        enough = min(len(lane.waiting), max(1, lane.stream.rows.cache.slots // 8))
        lane.waited = lane.waited + 1 if lane.waiting and free else 0
        if not lane.waiting or not free or (free < enough and lane.running and lane.waited < PATIENCE):
            return {}
        found: dict[int, Ask] = {}
        tokens = 0
        with self._turn:
            while lane.waiting and len(found) < free:
                ticket, index = lane.waiting[0]
                tokens += len(ticket.asks[index].prompt)
                if found and tokens > self.prefill_tokens:
                    break
                lane.waiting.popleft()
                number = next(self._ids)
                found[number] = ticket.asks[index]
                lane.running[number] = (ticket, index, Writer(lane.tokenizer, ticket.stop))
        return found

    def _hand_out(self, lane: Lane, drawn: Sequence[Drawn]) -> None:
        """Tokens to text, and everything that a ticket got in this step in one delivery."""
        written: dict[Ticket, list[Piece]] = {}
        ended = []
        now = time.monotonic()
        for d in drawn:
            ticket, index, writer = lane.running[d.id]
            text, end = writer.take(d.token), d.end
            if writer.stopped:
                end = "stop"
            elif end:
                text += writer.rest()
            if end:
                ended.append(d.id)
            if not ticket.began:
                ticket.began = True
                self.metrics.first_token_seconds.observe(now - ticket.created)
            written.setdefault(ticket, []).append(Piece(index, text, d.token, end, d.logp, d.top))
        lane.stream.leave(ended)
        for number in ended:
            del lane.running[number]
        self.metrics.generated_tokens.add(len(drawn))
        self.metrics.answers.add(len(ended))
        _post([(ticket, pieces, "") for ticket, pieces in written.items()])

    def _fail(self, lane: Lane, why: str, *, waiting: bool = False) -> None:
        with self._turn:
            hit = {ticket for ticket, *_ in lane.running.values()}
            hit |= {ticket for ticket, _ in lane.waiting} if waiting else set()
            # Answers of one request share its fate, those that have not begun too.
            lane.waiting = deque(item for item in lane.waiting if item[0] not in hit)
            lane.running = {}
        self.metrics.failed.add(len(hit))
        _post([(ticket, [], why) for ticket in hit])


def _complete(future: Future[Any], work: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)


def _post(deliveries: Sequence[tuple[Ticket, list[Piece], str]]) -> None:
    """One wake-up of each event loop for all that it gets."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Ticket, list[Piece], str]]] = {}
    for delivery in deliveries:
        by_loop.setdefault(delivery[0].loop, []).append(delivery)
    for loop, part in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_deliver, part)


def _deliver(part: Sequence[tuple[Ticket, list[Piece], str]]) -> None:
    for ticket, pieces, failure in part:
        ticket.deliver(pieces, failure)
