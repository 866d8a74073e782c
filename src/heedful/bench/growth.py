"""Whether time per token stays the same as data and queues grow."""

import itertools
import time

from heedful.bench.ceiling import DTYPES
from heedful.bench.models import EOS
from heedful.bench.peers.job import Clock, Job
from heedful.engine.batch import plain
from heedful.engine.fit import fit
from heedful.engine.optim import Optimizer
from heedful.engine.sample import Request, Sampling, sample
from heedful.engine.score import use_packed_attention
from heedful.engine.train import packed, plan
from heedful.losses import next_token
from heedful.nn import hub

TOKENS = (1_000, 10_000, 100_000, 1_000_000)
REQUESTS = (64, 256, 1024, 4096)
STEP = 1024
LEAST = 65_536  # tokens of every measurement, so that the small ones are not over at once


def data(job: Job, clock: Clock) -> None:
    """Seconds a token of one pass over data of several sizes: order, packing and training."""
    model = hub.load_model(job.model, dtype=DTYPES[job.precision])
    optimizer = Optimizer(model, learning_rate=1e-5)
    once = [plain(example["prompt"] + answer) for example in job.examples() for answer in example["answers"]]
    trees = once * -(-TOKENS[-1] // sum(tree.size for tree in once))
    ends = list(itertools.accumulate(tree.size for tree in trees))
    for size in (TOKENS[0], *TOKENS):  # the first is the warm-up
        chosen = [tree for tree, end in zip(trees, ends, strict=True) if end <= size]
        total = sum(tree.size for tree in chosen)
        passes = max(1, LEAST // total)
        began = time.perf_counter()
        for seed in range(passes):
            order = plan(chosen, tokens_per_step=STEP, epochs=1, seed=seed)
            for _ in fit(model, packed(chosen, order, 2 * STEP), next_token, optimizer):
                pass
        clock.notes[str(size)] = (time.perf_counter() - began) / (passes * total)


def queue(job: Job, clock: Clock) -> None:
    """Seconds a sampled token with several numbers of waiting requests."""
    model = hub.load_model(job.model, dtype=DTYPES[job.precision]).eval()
    use_packed_attention(model)
    prompts = list(
        itertools.islice(itertools.cycle(tuple(e["prompt"]) for e in job.examples()), REQUESTS[-1])
    )
    for size in (REQUESTS[0], *REQUESTS):
        requests = [Request(prompt, (n,)) for n, prompt in enumerate(prompts[:size])]
        began = time.perf_counter()
        found = sample(model, requests, Sampling(job.max_completion_length), stop=[EOS])
        written = sum(len(answer.ids) for row in found for answer in row)
        clock.notes[str(size)] = (time.perf_counter() - began) / written
