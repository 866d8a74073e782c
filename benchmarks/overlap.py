"""GRPO whose answers are drawn in its own process, by a server, and by a server while it learns.

    python benchmarks/overlap.py [--model A] [--precision fp32] [--iterations 12] [--repeats 3] [--seed 0]

Two cores: "here" has both, the other two have one for the learner and one for the server, as two machines of one core
would. Prompts, batch and lengths are those of `heedful bench --only grpo`. Prints answers' tokens a second, and the
ratios of a repeat, as means with 95 % intervals over the repeats; the three take turns.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import httpx
from scipy import stats

from heedful.bench import models
from heedful.bench.data import examples
from heedful.bench.works import WORKS

KEY = "the-key-of-the-benchmark"
WARM = 2
HOWS = ("here", "apart", "overlapped")


def learnt(how: str, folder: Path, url: str, args: Any) -> float:
    """Tokens of answers a second, of the iterations after the first ones; runs in a process of its own."""
    os.environ["HEEDFUL_API_KEY"] = KEY
    import torch

    from heedful.bench.ours import Even
    from heedful.engine.ahead import Ahead
    from heedful.engine.fit import Term, fit
    from heedful.engine.optim import Optimizer
    from heedful.engine.policy import Policy
    from heedful.engine.precision import dtype
    from heedful.engine.published import PublishedSampler
    from heedful.engine.rollout import Rollouts, RolloutSettings
    from heedful.losses import ppo_clip
    from heedful.nn import hub
    from heedful.types import Message, Prompt

    torch.set_num_threads(2 if how == "here" else 1)
    work = WORKS["grpo"]
    tokenizer = hub.load_tokenizer(folder / "model")
    model = hub.load_model(folder / "model", dtype=dtype(args.precision))
    server = PublishedSampler.at(f"{url}/v1#policy", model, tokenizer, folder / "policy")
    sampler = {"here": None, "apart": server, "overlapped": Ahead(server)}[how]
    drawn = examples(256, models.SHAPES[args.model].vocabulary, args.seed)
    prompts = [Prompt(str(i), (Message("user", tokenizer.decode(e["prompt"])),)) for i, e in enumerate(drawn)]
    rollouts = Rollouts(
        model=model,
        policy=Policy(model, tokenizer, sampler),
        reference=None,
        reward=Even(),
        prompts=prompts,
        settings=RolloutSettings(
            seed=args.seed,
            prompts_per_step=work.batch,
            num_generations=work.samples,
            max_completion_length=work.max_completion_length,
            epochs=1,
            minibatches=1,
            advantage="group",
            missing_eos_penalty=0.0,
        ),
        kl_coef=0.0,
    )
    ended, written = [], []
    batches = rollouts.batches(WARM + args.iterations)
    for _ in fit(model, batches, [Term(ppo_clip)], Optimizer(model, learning_rate=1e-6)):
        ended.append(time.perf_counter())
        written.append(rollouts.metrics["completions/mean_length"] * work.batch * work.samples)
    return sum(written[WARM:]) / (ended[-1] - ended[WARM - 1])


def served(folder: Path, port: int, precision: str) -> "subprocess.Popen[bytes]":
    """A server on one thread that answers with what lies in `policy`."""
    words = [str(folder / "policy"), "watch=true", f"port={port}", f"api_key={KEY}", f"precision={precision}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "heedful", "serve", *words], stdout=subprocess.DEVNULL, env=environment
    )
    while True:
        assert process.poll() is None, "the server did not start"
        try:
            httpx.get(f"http://127.0.0.1:{port}/health")
            return process
        except httpx.TransportError:
            time.sleep(0.2)


def interval(values: Sequence[float]) -> str:
    """The mean with its 95 % interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0
    return f"{mean(values):8.2f} [{mean(values) - half:.2f}, {mean(values) + half:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="A", choices=models.SHAPES)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--run", nargs=2, metavar=("HOW", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    url = f"http://127.0.0.1:{args.port}"
    if args.run:
        print(json.dumps(learnt(args.run[0], Path(args.run[1]), url, args)))
        return
    found: dict[str, list[float]] = {how: [] for how in HOWS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models.write(folder, models.SHAPES[args.model], args.seed)
        shutil.copytree(folder / "model", folder / "policy")
        server = served(folder, args.port, args.precision)
        try:
            for _ in range(args.repeats):
                for how in HOWS:
                    command = [sys.executable, *sys.argv, "--run", how, name]
                    found[how].append(json.loads(subprocess.check_output(command)))
                    print(how, round(found[how][-1]), flush=True)
        finally:
            server.kill()
            server.wait()
    for how in HOWS:
        print(f"{how:<10} tokens/s {interval(found[how])}")
    for base, other in (*pairwise(HOWS), ("here", "overlapped")):
        ratios = [b / a for a, b in zip(found[base], found[other], strict=True)]
        print(f"{other} / {base}: {interval(ratios)}")


if __name__ == "__main__":
    main()
