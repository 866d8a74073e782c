"""Answers for the next iteration, drawn by a server while this one's are learnt from.

They are of the weights before this iteration's steps, so one iteration off-policy. Their old log-probs are the
server's, those of the weights that drew them, so the importance ratio is the true one.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Any, Protocol

import numpy as np

from heedful.engine.sampler import Answered, Asked, Sampler
from heedful.engine.sampling import Sample, Sampling
from heedful.errors import UserError

TOLERANCE = 0.2
"""How far the sampler's log-probs may be from the learner's for the same weights: above bf16's rounding, and within
the usual clip range.
"""


class Beginning(Sampler, Protocol):
    """A sampler that answers with the weights of the moment when it is asked, however late it is waited for."""

    def begin(
        self, prompts: Sequence[Asked], how: Sampling, *, seed: Sequence[Any], n: int = 1, slots: int = 64
    ) -> Callable[[], list[Answered]]:
        """Note the weights of now; what is returned does the rest, in any thread."""
        ...


class Ahead:
    """A `Sampler` that may be asked one question early; a checkpoint holds its answers, so that a killed run goes on.

    `age` is how many iterations before the present weights those were that gave the last answers: 0 or 1.
    """

    def __init__(self, sampler: Beginning) -> None:
        self.sampler = sampler
        self.age = 0
        self._under_way: Future[list[Answered]] | None = None

    def ask(
        self, prompts: Sequence[Asked], how: Sampling, *, seed: Sequence[Any], n: int = 1, slots: int = 64
    ) -> None:
        """Begin to draw what the next call of `answer` will ask for, with the weights of now."""
        self._under_way = _begun(self.sampler.begin(prompts, how, seed=seed, n=n, slots=slots))

    def answer(
        self, prompts: Sequence[Asked], how: Sampling, *, seed: Sequence[Any], n: int = 1, slots: int = 64
    ) -> list[Answered]:
        """As `Sampler.answer`; waits for the answers if they were asked for early. UserError if that failed."""
        under_way, self._under_way = self._under_way, None
        self.age = int(under_way is not None)
        if under_way is None:
            return self.sampler.answer(prompts, how, seed=seed, n=n, slots=slots)
        return under_way.result()

    def check(self, gap: float) -> None:
        """UserError if the last answers are the present weights' and their log-probs are `gap` nats from these."""
        if self.age == 0 and gap > TOLERANCE:
            raise UserError(
                f"the server's log-probs are {gap:.2g} nats from those of the same weights here, and overlap=true "
                "learns from them: serve with this run's precision, or leave it out"
            )

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON; waits for the answers that are under way."""
        return {} if self._under_way is None else {"ahead": [_row(a) for a in self._under_way.result()]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Put back what `state` returned."""
        if "ahead" in state:
            self._under_way = Future()
            self._under_way.set_result([_answered(row) for row in state["ahead"]])


def refusal(config: Any) -> str | None:
    """Why a server cannot draw the answers with the settings of an RL run, or not ahead, if it cannot."""
    if (config.sampler is None) != (config.publish is None):
        return "sampler=http://...#NAME and publish=FOLDER go together: give both or neither"
    if config.sampler is not None and config.temperature != 1:
        return "sampler=http://...#NAME tells log-probs of temperature=1 only: leave temperature out"
    if not config.overlap:
        return None
    if config.sampler is None:
        return (
            "overlap=true lets a server answer while this process learns: add sampler=http://...#NAME and "
            "publish=FOLDER, or leave it out"
        )
    if config.surrogate not in ("ppo_clip", "ppo_kl"):
        return (
            f"overlap=true learns from answers of earlier weights, and surrogate={config.surrogate} does not correct "
            "for that: use ppo_clip or ppo_kl, or leave it out"
        )
    if config.dynamic_sampling > 1:
        return "overlap=true cannot know which prompts dynamic_sampling will pass over: leave one of them out"
    return None


def _begun(work: Callable[[], list[Answered]]) -> "Future[list[Answered]]":
    """Do it in a thread that does not keep the process alive."""
    future: Future[list[Answered]] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, name="heedful-ahead", daemon=True).start()
    return future


def _row(a: Answered) -> dict[str, Any]:
    samples = [[s.ids.tolist(), s.logp.tolist(), s.finished] for s in a.samples]
    return {"prompt": list(a.prompt), "samples": samples, "texts": list(a.texts)}


def _answered(row: Mapping[str, Any]) -> Answered:
    samples = [
        Sample(np.asarray(ids, dtype=np.int64), np.asarray(logp, dtype=np.float32), finished)
        for ids, logp, finished in row["samples"]
    ]
    return Answered(tuple(row["prompt"]), tuple(samples), tuple(row["texts"]))
