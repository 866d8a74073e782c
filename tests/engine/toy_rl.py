"""Reinforcement learning on a toy: a tiny random Llama over nine letters, and a reward that counts some of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers

import tiny
from heedful.engine.batch import Packed
from heedful.engine.fit import Step, Term, fit
from heedful.engine.optim import Optimizer
from heedful.engine.policy import Policy
from heedful.engine.rollout import Rollouts, RolloutSettings
from heedful.engine.score import use_packed_attention
from heedful.losses import policy
from heedful.losses.kl import k3
from heedful.nn.actor_critic import ActorCritic
from heedful.types import Message, Prompt

LETTERS = "abcdefghi"
WORDS = ["<pad>", "<s>", "</s>", "<unk>", *LETTERS]
EOS = WORDS.index("</s>")

SETTINGS = RolloutSettings(
    seed=0,
    prompts_per_step=8,
    num_generations=4,
    max_completion_length=8,
    gamma=1.0,
    lam=0.95,
    whiten_rewards=False,
    whiten_advantages=True,
    missing_eos_penalty=0.0,
    kl_target=None,
    kl_horizon=1000,
    epochs=2,
    minibatches=2,
    token_budget=4096,
    slots=8,
)
PROMPTS = [
    Prompt(f"prompt-{i}", (Message("user", " ".join(LETTERS[i % 9] + LETTERS[i // 9])),)) for i in range(20)
]


@dataclass(frozen=True)
class Share:
    """A reward model's stand-in: the share of `wanted` among an answer's letters."""

    wanted: str = "abcd"

    @property
    def metrics(self) -> Mapping[str, float]:
        return {}

    def scores(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[list[float]]:
        return [[self.of(text) for text in row] for row in answers]

    def of(self, text: str) -> float:
        letters = text.split()
        return sum(letter in self.wanted for letter in letters) / max(1, len(letters))


def tokenizer() -> Any:
    """One token a letter."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return hf.PreTrainedTokenizerFast(tokenizer_object=made, **special)


def rollouts(*, seed: int = 0, kl_coef: float = 0.0, reward: Any = None, **settings: Any) -> Rollouts:
    """Rollouts of a fresh toy: policy, critic (where there is one) and reference are different random models."""

    def made(number: int, *, scorer: bool = False) -> Any:
        config = hf.LlamaConfig(**{**tiny._COMMON, "vocab_size": len(WORDS), "eos_token_id": EOS})
        return tiny.model(config, scorer=scorer, seed=10 * seed + number)

    actor, reference = made(0), made(2)
    alone = settings.get("advantage", "gae") != "gae"
    model = actor if alone else ActorCritic(actor, made(1, scorer=True))
    for part in (model, reference):
        use_packed_attention(part)
    return Rollouts(
        model=model,
        policy=Policy(actor, tokenizer()),
        reference=reference,
        reward=reward or Share(),
        prompts=PROMPTS,
        settings=replace(SETTINGS, seed=seed, **settings),
        kl_coef=kl_coef,
    )


def rewards(toy: Rollouts, iterations: int, *, beta: float = 0.0) -> list[float]:
    """Train with PPO, or GRPO where there is no critic, and return the mean reward of each iteration."""
    s = toy.settings
    optimizer = Optimizer(toy.model, learning_rate=3e-3)
    terms = [Term(policy.ppo_clip)]
    if s.advantage == "gae":
        terms.append(Term(policy.value_clip, weight=0.5))
    if beta:
        terms.append(Term(k3, weight=beta))
    steps: list[Step] = []
    found = []
    for step in fit(toy.model, toy.batches(iterations), terms, optimizer):
        steps.append(step)
        if len(steps) % (s.epochs * s.minibatches) == 0:
            found.append(toy.metrics["reward"])
    return found


@dataclass(frozen=True)
class Row:
    """One answer of a batch with what was computed for each of its tokens."""

    prompt: list[int]
    ids: list[int]
    advantage: Any
    behavior_logp: Any
    ref_logp: Any = None
    returns: Any = None
    old_value: Any = None


def answers(packed: Packed) -> Iterator[Row]:
    """Take a packed batch apart."""
    number = 0
    for group in packed.layout.groups:
        prompt = packed.ids[slice(*group.prompt)].tolist()
        for span in group.branches:
            rows = packed.sequence == number
            columns = {name: values[rows].double().numpy() for name, values in packed.columns.items()}
            yield Row(prompt, packed.ids[slice(*span)].tolist(), **columns)
            number += 1


def collected(toy: Rollouts) -> list[Row]:
    """All answers of the first iteration."""
    (batch,) = toy.batches(1)
    return [row for packed in batch for row in answers(packed)]


@torch.no_grad()
def logps(model: Any, row: Row) -> list[float]:
    """The log-prob of each token of an answer, from one plain forward of its own."""
    model.set_attn_implementation("eager")
    ids = torch.tensor([row.prompt + row.ids])
    table = model(ids).logits[0].double().log_softmax(-1)
    return [float(table[len(row.prompt) + t - 1, token]) for t, token in enumerate(row.ids)]
