"""Counters of a server, in Prometheus's text form."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

LATENCIES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Counter:
    """A number that only grows; safe in threads."""

    def __init__(self) -> None:
        self._lock, self.value = threading.Lock(), 0

    def add(self, n: int = 1) -> None:
        with self._lock:
            self.value += n


class Histogram:
    """How many observations lie below each bound, and their sum."""

    def __init__(self, bounds: Sequence[float] = LATENCIES) -> None:
        self._lock, self.bounds = threading.Lock(), tuple(bounds)
        self.counts, self.sum = [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        place = next((i for i, bound in enumerate(self.bounds) if value <= bound), len(self.bounds))
        with self._lock:
            self.counts[place] += 1
            self.sum += value


@dataclass
class Metrics:
    """What a server counts; `gauges` are read when asked for."""

    prompt_tokens: Counter = field(default_factory=Counter)
    generated_tokens: Counter = field(default_factory=Counter)
    scored_tokens: Counter = field(default_factory=Counter)
    answers: Counter = field(default_factory=Counter)
    cancelled: Counter = field(default_factory=Counter)
    failed: Counter = field(default_factory=Counter)
    first_token_seconds: Histogram = field(default_factory=Histogram)
    step_seconds: Histogram = field(default_factory=Histogram)
    responses: dict[int, Counter] = field(default_factory=dict)
    gauges: dict[str, tuple[str, Callable[[], int]]] = field(default_factory=dict)

    def responded(self, status: int) -> None:
        """Count a response by its status."""
        self.responses.setdefault(status, Counter()).add()

    def text(self) -> str:
        """All of it in the text format, version 0.0.4."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        for name, what in _COUNTERS.items():
            yield from _head(f"heedful_{name}_total", what, "counter")
            yield f"heedful_{name}_total {getattr(self, name).value}"
        yield from _head("heedful_responses_total", "HTTP responses by status.", "counter")
        for status, counter in sorted(self.responses.items()):
            yield f'heedful_responses_total{{status="{status}"}} {counter.value}'
        for name, (what, read) in self.gauges.items():
            yield from _head(f"heedful_{name}", what, "gauge")
            yield f"heedful_{name} {read()}"
        for name, what in _HISTOGRAMS.items():
            found: Histogram = getattr(self, name)
            yield from _head(f"heedful_{name}", what, "histogram")
            total = 0
            for bound, n in zip((*found.bounds, "+Inf"), found.counts, strict=True):
                total += n
                yield f'heedful_{name}_bucket{{le="{bound}"}} {total}'
            yield f"heedful_{name}_sum {found.sum}"
            yield f"heedful_{name}_count {total}"


_COUNTERS = {
    "prompt_tokens": "Tokens of prompts that were admitted to the queue.",
    "generated_tokens": "Tokens that were drawn.",
    "scored_tokens": "Tokens of texts whose log-probs, embeddings or rewards were computed.",
    "answers": "Answers that came to their end.",
    "cancelled": "Answers whose client left before their end.",
    "failed": "Requests that ended with a fault of the engine.",
}
_HISTOGRAMS = {
    "first_token_seconds": "From a request's arrival in the queue to its first token.",
    "step_seconds": "A step of all answers that are being written.",
}


def _head(name: str, what: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {what}"
    yield f"# TYPE {name} {kind}"
