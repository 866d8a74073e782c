"""Policy-gradient algorithms by name: each is a surrogate, an advantage and a reduction that any other may have too."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from heedful.engine.fit import Term
from heedful.losses import kl, policy
from heedful.losses.bind import Loss
from heedful.losses.supervised import next_token

Surrogate = Literal["reinforce", "ppo_clip", "ppo_kl", "trpo"]
Algorithm = Literal["reinforce", "a2c", "trpo", "ppo_clip", "ppo_kl", "ppo_ptx", "rloo", "grpo", "dr_grpo"]

ONCE = {"num_ppo_epochs": 1, "num_mini_batches": 1}
ALGORITHMS: Mapping[str, Mapping[str, Any]] = {
    "reinforce": {"surrogate": "reinforce", "advantage": "monte_carlo", **ONCE},
    "a2c": {
        "surrogate": "reinforce",
        "advantage": "gae",
        "lam": 1.0,
        "whiten_advantages": False,
        "clip_range_value": None,
        **ONCE,
    },
    "trpo": {"surrogate": "trpo", "advantage": "gae", "clip_range_value": None, **ONCE},
    "ppo_clip": {"surrogate": "ppo_clip", "advantage": "gae"},
    "ppo_kl": {"surrogate": "ppo_kl", "advantage": "gae"},
    "ppo_ptx": {"surrogate": "ppo_clip", "advantage": "gae"},
    "rloo": {"surrogate": "reinforce", "advantage": "leave_one_out", **ONCE},
    "grpo": {"surrogate": "ppo_clip", "advantage": "group", "reduction": "sequence"},
    "dr_grpo": {
        "surrogate": "ppo_clip",
        "advantage": "group",
        "scale_rewards": "none",
        "reduction": "constant",
    },
}

PER_TOKEN = ("gae", "monte_carlo")
USED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys(
        ("lam", "whiten_rewards", "vf_coef", "clip_range_value", "critic"), ("advantage", ("gae",))
    ),
    **dict.fromkeys(("gamma", "whiten_advantages"), ("advantage", PER_TOKEN)),
    "baseline": ("advantage", ("monte_carlo",)),
    "scale_rewards": ("advantage", ("group",)),
    "clip_range": ("surrogate", ("ppo_clip",)),
    **dict.fromkeys(("step_kl_coef", "step_kl_target"), ("surrogate", ("ppo_kl",))),
    **dict.fromkeys(
        ("max_kl", "cg_iterations", "cg_damping", "line_search_steps", "line_search_shrink", "fisher_ratio"),
        ("surrogate", ("trpo",)),
    ),
    "critic_updates": ("surrogate", ("trpo",)),
}
"""Settings that mean something with some choices only: which choice, and what it has to be."""


def combined(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` over what their `algorithm` stands for, less what means nothing with another choice of theirs."""
    named = ALGORITHMS.get(str(values.get("algorithm")), {})
    merged = {**named, **values}
    for setting in named.keys() - values.keys():
        choice, allowed = USED.get(setting, ("", ()))
        if choice and merged[choice] not in allowed:
            del merged[setting]
    return merged


def policy_terms(s: Any, *, kl_coef: Callable[[], float], step_kl_coef: Callable[[], float]) -> list[Term]:
    """The parts of the objective that move the policy; the coefficients are asked at every step."""
    surrogates: dict[Surrogate, Loss] = {
        "reinforce": policy.reinforce,
        "ppo_clip": partial(policy.ppo_clip, clip_range=s.clip_range),
        "ppo_kl": policy.importance,
        "trpo": policy.importance,
    }
    terms = [Term(surrogates[s.surrogate])]
    if s.surrogate == "ppo_kl":
        terms.append(Term(policy.approx_kl, weight=step_kl_coef))
    if s.kl_in == "loss" and s.kl_coef:
        terms.append(Term(kl.PENALTIES[s.kl_estimator], weight=kl_coef))
    if s.entropy_coef:
        terms.append(Term(policy.entropy_bonus, weight=s.entropy_coef))
    if s.ptx is not None:
        terms.append(Term(next_token, weight=s.ptx_coef, stream="ptx"))
    return terms


def value_term(s: Any) -> Term:
    """The critic's part of the objective."""
    if s.clip_range_value is None:
        return Term(policy.value_error, weight=s.vf_coef)
    return Term(partial(policy.value_clip, clip_range=s.clip_range_value), weight=s.vf_coef)


def watched(s: Any) -> dict[str, Loss]:
    """What is measured beside: the distance from the policy that sampled, and how undecided the policy is."""
    found: dict[str, Loss] = {"approx_kl": policy.approx_kl, "entropy": policy.mean_entropy}
    if s.surrogate == "ppo_clip":
        found["clip_ratio"] = partial(policy.clip_fraction, clip_range=s.clip_range)
    return found


def learns_from_surrogate_alone(s: Any) -> bool:
    """Whether an answer whose advantages are zero adds nothing at all."""
    return len(policy_terms(s, kl_coef=lambda: 0.0, step_kl_coef=lambda: 0.0)) == 1 and s.advantage in (
        "group",
        "leave_one_out",
    )
