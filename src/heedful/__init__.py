"""Train language models to heed people.

    pretrain = fit(model,             batches(documents(tokenizer, texts)),      next_token)
    sft      = fit(model,             batches(conversations(tokenizer, chats)),  next_token)
    reward   = fit(scorer_from(model), batches(compared(tokenizer, judgements)), bradley_terry)
    prefer   = fit(model,             batches(with_reference(model, compared)),  dpo)
    rl       = fit(ActorCritic(...),  Rollouts(...).batches(iterations),         [Term(ppo_clip), ...])

Names are loaded when they are first used, so that `import heedful` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from heedful.data.formats import read_conversations, read_preferences, read_prompts, read_texts
    from heedful.data.solutions import read_solutions
    from heedful.data.store.convert import preferences
    from heedful.data.store.records import Annotator
    from heedful.data.store.store import Store
    from heedful.data.verdicts import read_verdicts, verdicts
    from heedful.engine.batch import Tree
    from heedful.engine.dialogues import conversations, documents
    from heedful.engine.endpoint import Endpoint
    from heedful.engine.fit import Step, Term, fit
    from heedful.engine.optim import Optimizer
    from heedful.engine.pairs import compared, with_reference
    from heedful.engine.policy import Policy
    from heedful.engine.process_reward import ProcessRewardModel, solution_trees
    from heedful.engine.published import PublishedSampler
    from heedful.engine.rerank import Reranked
    from heedful.engine.reward_model import RewardModel
    from heedful.engine.reward_server import ServerReward
    from heedful.engine.rewards import load_reward
    from heedful.engine.rollout import Rollouts, RolloutSettings
    from heedful.engine.sampler import Sampler
    from heedful.engine.sampler_server import ServerSampler
    from heedful.engine.sampler_vllm import VllmSampler
    from heedful.engine.sampling import Sampling
    from heedful.engine.step_labels import labelled
    from heedful.engine.tokenizer import train_bpe
    from heedful.engine.train import batches, means
    from heedful.engine.verdict_trees import learnt_from
    from heedful.errors import UserError
    from heedful.losses import bradley_terry, dpo, next_token, ppo_clip, value_clip
    from heedful.nn.actor_critic import ActorCritic
    from heedful.nn.hub import load_model, load_scorer, load_tokenizer, new_llama, save_model, scorer_from
    from heedful.types import (
        Answer,
        Comparison,
        Conversation,
        Message,
        Preference,
        Prompt,
        Ranking,
        Rating,
        Solution,
        Verdict,
    )
    from heedful.world import World, annotators, grade

_WHERE = {
    "data.formats": ("read_conversations", "read_preferences", "read_prompts", "read_texts"),
    "data.solutions": ("read_solutions",),
    "data.store.convert": ("preferences",),
    "data.store.records": ("Annotator",),
    "data.store.store": ("Store",),
    "data.verdicts": ("read_verdicts", "verdicts"),
    "engine.batch": ("Tree",),
    "engine.dialogues": ("conversations", "documents"),
    "engine.endpoint": ("Endpoint",),
    "engine.fit": ("Step", "Term", "fit"),
    "engine.optim": ("Optimizer",),
    "engine.pairs": ("compared", "with_reference"),
    "engine.policy": ("Policy",),
    "engine.process_reward": ("ProcessRewardModel", "solution_trees"),
    "engine.published": ("PublishedSampler",),
    "engine.rerank": ("Reranked",),
    "engine.reward_model": ("RewardModel",),
    "engine.reward_server": ("ServerReward",),
    "engine.rewards": ("load_reward",),
    "engine.rollout": ("RolloutSettings", "Rollouts"),
    "engine.sampler": ("Sampler",),
    "engine.sampler_server": ("ServerSampler",),
    "engine.sampler_vllm": ("VllmSampler",),
    "engine.sampling": ("Sampling",),
    "engine.step_labels": ("labelled",),
    "engine.tokenizer": ("train_bpe",),
    "engine.train": ("batches", "means"),
    "engine.verdict_trees": ("learnt_from",),
    "errors": ("UserError",),
    "losses": ("bradley_terry", "dpo", "next_token", "ppo_clip", "value_clip"),
    "nn.actor_critic": ("ActorCritic",),
    "nn.hub": ("load_model", "load_scorer", "load_tokenizer", "new_llama", "save_model", "scorer_from"),
    "types": (
        *("Answer", "Comparison", "Conversation", "Message", "Preference", "Prompt", "Ranking", "Rating"),
        *("Solution", "Verdict"),
    ),
    "world": ("World", "annotators", "grade"),
}
_HOME = {name: module for module, names in _WHERE.items() for name in names}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"heedful has no '{name}'")
    return getattr(import_module(f"heedful.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
