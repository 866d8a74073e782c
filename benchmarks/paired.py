"""A switch on and off in one process, in turn: what it gives, whatever else the machine does.

    python benchmarks/paired.py SWITCH [WORK] [MODEL] [PRECISION] [PAIRS]

e.g. `kernels sft A bf16 8`. Switches: `kernels` (the compiled ones, built if need be), `segments` (the backward of
short segments in fp32), `layers` (a layer's decoding step as one compiled call, in bf16), `tiles` (products and
attention by matrix tiles while training in bf16), `gated` (a gated MLP as one node), `update` (clipping, AdamW and the
copy in bf16 in one pass), `surroundings` (a decoding step without what transformers does around its layers). Works:
sft, reward, sampling.
Time is the process's own CPU time of one token, so that other programs cost less; the ratio is the mean of the pairs'
logarithms with a 95 % t-interval.
"""

import contextlib
import itertools
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from scipy import stats

from heedful.bench import data, models, ours
from heedful.bench.ceiling import DTYPES
from heedful.engine import attention, compiled
from heedful.engine import sample as sampling
from heedful.engine.batch import microbatches
from heedful.engine.fit import fit
from heedful.engine.kernels import adamw, build, library, product
from heedful.engine.kernels import gated as gated_mlp
from heedful.engine.optim import Optimizer
from heedful.engine.score import use_packed_attention
from heedful.losses import bradley_terry, next_token
from heedful.nn import hub


def main(switch: str, work: str = "sft", model: str = "A", precision: str = "bf16", pairs: str = "8") -> None:
    build.build()
    library.keep(library.TORCH if switch in ("kernels", "segments") else library.available())
    turn, seconds = SWITCHES[switch], WORKS[work](model, precision)
    found: dict[bool, list[float]] = {False: [], True: []}
    for number in range(int(pairs) + 1):
        for on in (False, True) if number % 2 else (True, False):
            turn(on)
            found[on].append(next(seconds))
    logs = [math.log(off / on) for off, on in zip(found[False][1:], found[True][1:], strict=True)]
    reach = float(stats.t.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
    low, value, high = (math.exp(statistics.mean(logs) + sign * reach) for sign in (-1, 0, 1))
    off, on = (1e6 * statistics.median(found[key][1:]) for key in (False, True))
    print(
        f"{switch} {work} {model} {precision}: {off:.0f} us of CPU time a token without, {on:.0f} with;",
        end=" ",
    )
    print(f"{value:.2f} times [{low:.2f}, {high:.2f}], {pairs} pairs")


def kernels(on: bool) -> None:
    library.keep(library.available() if on else library.TORCH)


def segments(on: bool) -> None:
    attention._BF16_PAYS_FROM = 2**15 if on else 0


def layers(on: bool, when_on: Any = sampling.compiled) -> None:
    sampling.compiled = when_on if on else lambda model: contextlib.nullcontext()


def tiles(on: bool, when_on: Any = product._has_tiles) -> None:
    product._has_tiles = when_on if on else lambda built: False


def gated(on: bool, when_on: Any = gated_mlp.kernel_for) -> None:
    gated_mlp.kernel_for = when_on if on else lambda x, *layers: None


def update(on: bool, when_on: Any = adamw.library.built) -> None:
    adamw.library = SimpleNamespace(built=when_on if on else lambda: None)  # type: ignore[assignment]


def surroundings(on: bool, when_on: Any = compiled._whole) -> None:
    compiled._whole = when_on if on else lambda built, model, layers: None


def sft(name: str, precision: str) -> Iterator[float]:
    return training(models.new_model(models.SHAPES[name], 0), name, precision, "sft")


def reward(name: str, precision: str) -> Iterator[float]:
    scorer = hub.scorer_from(models.new_model(models.SHAPES[name], 0), seed=0)
    return training(scorer, name, precision, "reward")


def training(model: Any, name: str, precision: str, work: str) -> Iterator[float]:
    """Seconds a token of steps; every batch is taken twice."""
    examples = data.examples(256, models.SHAPES[name].vocabulary, 0)
    made, loss, size = {
        "sft": (ours.spoken, next_token, 16),
        "reward": (lambda e: ours.ranked(e, len(e["answers"])), bradley_terry, 4),
    }[work]
    trees = [made(e) for e in examples]
    model = model.to(DTYPES[precision])
    starts = itertools.cycle(range(0, len(trees), size))
    twice = (microbatches(trees[i : i + size], ours.TOKEN_BUDGET) for i in starts for _ in range(2))
    steps = fit(model, twice, loss, Optimizer(model, learning_rate=1e-5))
    while True:
        began = time.process_time()
        step = next(steps)
        yield (time.process_time() - began) / step.tokens


def sampled(name: str, precision: str) -> Iterator[float]:
    """Seconds a token of 8 prompts with 8 answers each."""
    shape = models.SHAPES[name]
    model = models.new_model(shape, 0).to(DTYPES[precision]).eval()
    use_packed_attention(model)
    prompts = [tuple(e["prompt"]) for e in data.examples(8, shape.vocabulary, 0)]
    requests = [sampling.Request(p, tuple(range(8 * n, 8 * n + 8))) for n, p in enumerate(prompts)]
    while True:
        began = time.process_time()
        answers = sampling.sample(model, requests, sampling.Sampling(64), stop=[models.EOS])
        yield (time.process_time() - began) / sum(len(a.ids) for row in answers for a in row)


SWITCHES: dict[str, Callable[[bool], None]] = {
    "kernels": kernels,
    "segments": segments,
    "layers": layers,
    "tiles": tiles,
    "gated": gated,
    "update": update,
    "surroundings": surroundings,
}
WORKS = {"sft": sft, "reward": reward, "sampling": sampled}

if __name__ == "__main__":
    main(*sys.argv[1:])
