"""Whether one stream of an objective leaves another no part of a step: their gradients before the first one."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from heedful.engine import terminal
from heedful.engine.batch import Packed
from heedful.engine.fit import Term
from heedful.engine.score import columns, device_of
from heedful.losses import bind

DROWNED = 10.0  # times the rollouts' gradient


def pull(model: Any, batch: Sequence[Packed], terms: Sequence[Term], stream: str) -> float:
    """The norm of the gradient of a stream's terms on a batch."""
    weights = [w for w in model.parameters() if w.requires_grad]
    total = [torch.zeros_like(w) for w in weights]
    rows = [row.to(device_of(model)) for row in batch if row.stream == stream]
    for term in (t for t in terms if t.stream == stream):
        unit = bind.unit(term.loss)
        divisor = sum(row.count(unit) for row in rows)
        for row in rows:
            values = bind.bind(term.loss, columns(model, row, bind.columns(term.loss)))
            loss = term.now * (values * row.weights[unit]).sum() / divisor
            for sum_, found in zip(total, torch.autograd.grad(loss, weights, allow_unused=True), strict=True):
                if found is not None:
                    sum_ += found
    return float(torch.stack([part.float().norm() for part in total]).norm())


def weighed(
    batches: Iterable[list[Packed]], model: Any, terms: Sequence[Term], coefficient: float
) -> Iterator[list[Packed]]:
    """Hand batches on; before the first, say so where the texts of PPO-ptx pull so much harder than the rollouts."""
    for number, batch in enumerate(batches):
        if number == 0:
            texts, rollouts = (pull(model, batch, terms, stream) for stream in ("ptx", ""))
            if texts > DROWNED * rollouts > 0:
                terminal.say(
                    f"rl         the texts pull {texts / rollouts:.0f} times as hard as the reward, of which hardly "
                    f"anything will be learnt: ptx_coef={coefficient * rollouts / texts:.2g} makes both alike"
                )
        yield batch
