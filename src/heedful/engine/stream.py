"""Continuous batching for a server: answers with settings of their own join while others run, and leave at any time.

One row an answer, so an answer is the same alone and in a crowd (up to rounding in another batch). Nothing here waits
or sends: `join` and `step` return what was drawn, the caller does the rest.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from heedful.engine.choose import Counts, alike, choose_each, penalise
from heedful.engine.randomness import uniform
from heedful.engine.sampling import Sampling
from heedful.engine.slots import Slots

End = Literal["", "stop", "length"]


class Grammar(Protocol):
    """What an answer may be, token by token."""

    def allowed(self, vocabulary: int) -> Tensor:
        """Which tokens may come next: bool [V]."""
        ...

    def take(self, token: int) -> None:
        """Go on behind a token that was allowed."""
        ...


@dataclass(frozen=True, slots=True)
class Ask:
    """An answer that is wanted: `key` makes its random numbers, `stop` ends it, `longest` is the most tokens it has.

    `logprobs` asks for its tokens' log-probs and those of so many likeliest tokens. `how` says how tokens are drawn,
    to which `bias` is added; what else `Sampling` holds (lengths, strings, beams) is not looked at.
    """

    prompt: tuple[int, ...]
    key: int
    how: Sampling
    longest: int
    stop: frozenset[int] = frozenset()
    logprobs: int | None = None
    bias: tuple[tuple[int, float], ...] = ()
    grammar: Grammar | None = None


class Drawn(NamedTuple):
    """A token of the answer with this id, and whether it is the last.

    `logp` is the model's at temperature 1, before bias and penalties; `top` are the likeliest tokens with theirs.
    """

    id: int
    token: int
    end: End
    logp: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Stream:
    """The answers of one model that are being written, at most `slots` at once."""

    def __init__(self, model: nn.Module, *, slots: int, prompt_room: int, answer_room: int) -> None:
        self.rows = Slots(model, slots, 1, prompt_room, answer_room)
        self.ids: list[int] = []
        self.asks: list[Ask] = []
        self.counts: Counts | None = None

    def __len__(self) -> int:
        return len(self.asks)

    @property
    def free(self) -> int:
        """How many answers may join."""
        return len(self.rows.free)

    def join(self, asks: Mapping[int, Ask]) -> list[Drawn]:
        """Compute the prompts of new answers, each distinct one once, and draw their first tokens."""
        if not asks:
            return []
        alike: dict[tuple[int, ...], list[int]] = {}
        for number, ask in asks.items():
            alike.setdefault(ask.prompt, []).append(number)
        leads = [numbers[0] for numbers in alike.values()]
        slots, logits = self.rows.join(list(alike), [[asks[n].key] for n in leads])
        order, source = list(leads), list(range(len(leads)))
        places = slots.tolist()
        for at, numbers in enumerate(alike.values()):
            if numbers[1:]:
                places += self.rows.join_beside(places[at], [asks[n].key for n in numbers[1:]]).tolist()
                order += numbers[1:]
                source += [at] * (len(numbers) - 1)
        first = len(self.asks)
        self.ids += order
        self.asks += [asks[n] for n in order]
        self._count(places, first, logits.shape[-1])
        return self._draw(logits[source], slice(first, None))

    def step(self) -> list[Drawn]:
        """Run the model once and draw the next token of every answer."""
        return self._draw(self.rows.step(), slice(None)) if self.asks else []

    def leave(self, ids: Collection[int]) -> None:
        """Take answers out, whether they have ended or not."""
        if not ids:
            return
        done = [number in ids for number in self.ids]
        self.rows.leave(torch.tensor(done))
        self.asks = [ask for ask, gone in zip(self.asks, done, strict=True) if not gone]
        self.ids = [number for number, gone in zip(self.ids, done, strict=True) if not gone]

    def _count(self, slots: Sequence[int], first: int, vocabulary: int) -> None:
        """Counts of tokens exist from the first answer on that is penalised for them."""
        new = self.asks[first:]
        if self.counts is None and not any(ask.how.penalised for ask in new):
            return
        self.counts = self.counts or Counts(self.rows.cache.slots, 1, vocabulary)
        lengths = torch.tensor([len(ask.prompt) for ask in new])
        where = torch.tensor(slots)
        ids = torch.tensor([token for ask in new for token in ask.prompt])
        self.counts.start(where, where.repeat_interleave(lengths), ids)

    def _changed(self, logits: Tensor, slot: Tensor, sample: Tensor, asks: Sequence[Ask]) -> Tensor:
        """The logits [B, V] under the penalties, biases and grammars of their rows."""
        if not any(ask.bias or ask.grammar or ask.how.penalised for ask in asks):
            return logits
        changed = logits.clone()
        for how, members in alike([ask.how for ask in asks]).items():
            if how.penalised and self.counts is not None:
                index = torch.tensor(members)
                used = self.counts.used(slot[index], sample[index])
                changed[index] = penalise(logits[index], how, used)
        biases = [(row, token, value) for row, ask in enumerate(asks) for token, value in ask.bias]
        if biases:
            row, token, value = zip(*biases, strict=True)
            changed.index_put_((torch.tensor(row), torch.tensor(token)), torch.tensor(value), accumulate=True)
        for at, ask in enumerate(asks):
            if ask.grammar is not None:
                changed[at].masked_fill_(~ask.grammar.allowed(changed.shape[1]), float("-inf"))
        return changed

    def _draw(self, logits: Tensor, where: slice) -> list[Drawn]:
        rows, asks = self.rows, self.asks[where]
        logits = logits.float()
        slot, sample, written = rows.slot[where], rows.sample[where], rows.written[where]
        changed = self._changed(logits, slot, sample, asks)
        token = choose_each(changed, uniform(rows.key[where], written), [ask.how for ask in asks])
        if self.counts is not None:
            self.counts.write(slot, sample, token)
        rows.put(where, token)
        told = _told(logits, token, asks)
        drawn = []
        for at, (number, ask, t, n) in enumerate(
            zip(self.ids[where], asks, token.tolist(), rows.written[where].tolist(), strict=True)
        ):
            if ask.grammar is not None and t not in ask.stop:
                ask.grammar.take(t)
            end: End = "stop" if t in ask.stop else "length" if n >= ask.longest else ""
            drawn.append(Drawn(number, t, end, *told.get(at, (None, ()))))
        return drawn


def _told(
    logits: Tensor, token: Tensor, asks: Sequence[Ask]
) -> dict[int, tuple[float, tuple[tuple[int, float], ...]]]:
    """The log-probs that were asked for, by row."""
    wanted = [at for at, ask in enumerate(asks) if ask.logprobs is not None]
    if not wanted:
        return {}
    logp = logits[wanted].log_softmax(-1).cpu()
    own = logp.gather(-1, token[wanted, None])[:, 0].tolist()
    most = max(asks[at].logprobs or 0 for at in wanted)
    best = logp.topk(min(most, logp.shape[-1]), -1)
    values, ids = best.values.tolist(), best.indices.tolist()
    return {
        at: (own[i], tuple(zip(ids[i], values[i], strict=True))[: asks[at].logprobs])
        for i, at in enumerate(wanted)
    }
