"""The worker of our side: the same functions that users call, timed. `python -m heedful.bench.ours JOB`."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from heedful.bench import growth
from heedful.bench.ceiling import DTYPES, ceiling
from heedful.bench.models import EOS
from heedful.bench.peers.job import Clock, Example, Job, read_job, share_of_even, words
from heedful.engine import process
from heedful.engine.batch import Packed, Pair, Tree, answer_node, microbatches, plain, prompt_node
from heedful.engine.fit import Term, fit
from heedful.engine.optim import Optimizer
from heedful.engine.pairs import with_reference
from heedful.engine.policy import Policy
from heedful.engine.reward_model import RewardModel
from heedful.engine.rollout import Rollouts, RolloutSettings
from heedful.engine.sample import Request, Sampling, sample
from heedful.engine.score import use_packed_attention
from heedful.losses import bradley_terry, dpo, next_token, ppo_clip, value_clip
from heedful.losses.bind import Loss
from heedful.nn import hub
from heedful.nn.actor_critic import ActorCritic
from heedful.types import Message, Prompt

TOKEN_BUDGET = 8192
MANY = 10_000
EPOCHS, MINIBATCHES = 2, 2


def policy_model(job: Job) -> Any:
    """The policy in the precision that is measured."""
    return hub.load_model(job.model, dtype=DTYPES[job.precision])


def scorer(job: Job) -> Any:
    """The reward model in the precision that is measured."""
    return hub.load_scorer(job.reward, dtype=DTYPES[job.precision])


def sft(job: Job, clock: Clock) -> None:
    """Supervised fine-tuning, loss on the answers."""
    trees = [spoken(e) for e in job.examples()]
    train(job, clock, policy_model(job), trees, next_token)


def reward(job: Job, clock: Clock) -> None:
    """A reward model: all pairs of a ranking are one batch element."""
    trees = [ranked(e, len(e["answers"])) for e in job.examples()]
    train(job, clock, scorer(job), trees, bradley_terry)


def preferred(job: Job, clock: Clock) -> None:
    """Direct preference optimisation; the reference's log-probs of a batch are computed as its turn comes."""
    reference = hub.load_model(job.reference, dtype=DTYPES[job.precision])
    use_packed_attention(reference)
    trees = [ranked(e, 2) for e in job.examples()]
    train(
        job,
        clock,
        policy_model(job),
        trees,
        partial(dpo, beta=0.1),
        partial(with_reference, reference),
    )


def spoken(example: Example) -> Tree:
    """A prompt with its best answer as one sequence."""
    prompt, answer = example["prompt"], example["answers"][0]
    return plain(prompt + answer, [False] * len(prompt) + [True] * len(answer))


def ranked(example: Example, k: int) -> Tree:
    """A prompt with its k best answers and all their pairs, which together weigh 1."""
    pairs = list(itertools.combinations(range(k), 2))
    answers = tuple(answer_node(a) for a in example["answers"][:k])
    return Tree(prompt_node(example["prompt"]), answers, tuple(Pair(c, r, 1 / len(pairs)) for c, r in pairs))


def train(
    job: Job,
    clock: Clock,
    model: Any,
    trees: Sequence[Tree],
    loss: Loss,
    ready: Callable[[Sequence[Tree]], Sequence[Tree]] = list,
) -> None:
    """Steps over the trees in their order; `ready` is what has to be done to those of a step before it."""
    starts = itertools.cycle(range(0, len(trees) - job.batch + 1, job.batch))
    batches = (microbatches(ready(trees[i : i + job.batch]), TOKEN_BUDGET) for i in starts)
    for step in fit(model, batches, loss, Optimizer(model, learning_rate=1e-5)):
        clock.note(loss=step.loss, grad_norm=step.grad_norm)
        if clock.lap(job.batch, step.tokens):
            return


def sampling(job: Job, clock: Clock) -> None:
    """`batch` prompts, `samples` answers each."""
    model = policy_model(job).eval()
    use_packed_attention(model)
    numbers = itertools.count()
    prompts = itertools.cycle(tuple(e["prompt"]) for e in job.examples())
    done = False
    while not done:
        requests = [
            Request(next(prompts), tuple(next(numbers) for _ in range(job.samples))) for _ in range(job.batch)
        ]
        answers = sample(model, requests, Sampling(job.max_completion_length), stop=[EOS])
        lengths = [len(a.ids) for row in answers for a in row]
        done = clock.lap(len(lengths), sum(lengths))


class Even:
    """A reward that costs nothing, where a reward model is expected."""

    metrics: Mapping[str, float] = MappingProxyType({})

    def scores(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[list[float]]:
        return [[share_of_even(text) for text in texts] for texts in answers]


def ppo(job: Job, clock: Clock) -> None:
    """Whole iterations of PPO: sample, score, reference, critic, two epochs of two mini-batches."""
    tokenizer = hub.load_tokenizer(job.model)
    model = ActorCritic(policy_model(job), scorer(job))
    reference = policy_model(job).eval()
    for part in (model.critic, reference):
        use_packed_attention(part)
    made = rollouts(
        job,
        model=model,
        policy=Policy(model.policy, tokenizer),
        reference=reference,
        reward=RewardModel(scorer(job), tokenizer),
        settings={"epochs": EPOCHS, "minibatches": MINIBATCHES, "kl_target": None},
    )
    terms = [Term(ppo_clip), Term(value_clip, weight=0.1)]
    iterate(job, clock, model, made.batches(MANY), terms, steps=EPOCHS * MINIBATCHES)


def grpo(job: Job, clock: Clock) -> None:
    """Whole iterations of GRPO without a reference: sample, score, one step."""
    policy = Policy(policy_model(job), hub.load_tokenizer(job.model))
    made = rollouts(
        job,
        model=policy.model,
        policy=policy,
        reference=None,
        reward=Even(),
        settings={"epochs": 1, "minibatches": 1, "advantage": "group", "missing_eos_penalty": 0.0},
    )
    iterate(job, clock, policy.model, made.batches(MANY), [Term(ppo_clip)], steps=1)


def rollouts(job: Job, *, settings: dict[str, Any], **parts: Any) -> Rollouts:
    """Rollouts over the job's prompts."""
    prompts = [Prompt(str(n), (Message("user", words(e["prompt"])),)) for n, e in enumerate(job.examples())]
    chosen = RolloutSettings(
        seed=job.seed,
        prompts_per_step=job.batch,
        num_generations=job.samples,
        max_completion_length=job.max_completion_length,
        token_budget=TOKEN_BUDGET,
        **settings,
    )
    return Rollouts(prompts=prompts, settings=chosen, kl_coef=0.05, **parts)


def iterate(
    job: Job, clock: Clock, model: Any, batches: Iterator[list[Packed]], terms: list[Term], *, steps: int
) -> None:
    """Optimiser steps; a lap ends with each iteration of `steps` of them."""
    written = 0
    for step in fit(model, batches, terms, Optimizer(model, learning_rate=1e-6)):
        written += step.tokens
        if (step.number + 1) % steps:
            continue
        if clock.lap(job.batch * job.samples, written):
            return
        written = 0


WORKS: dict[str, Callable[[Job, Clock], None]] = {
    "sft": sft,
    "reward": reward,
    "dpo": preferred,
    "sampling": sampling,
    "grpo": grpo,
    "ppo": ppo,
    "data": growth.data,
    "queue": growth.queue,
    "ceiling": ceiling,
}


def main() -> None:
    job = read_job()
    process.prepare()
    clock = Clock(job)
    WORKS[job.work](job, clock)
    clock.finish()


if __name__ == "__main__":
    main()
