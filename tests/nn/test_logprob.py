"""Log-probs and entropies made a few rows at a time are those of the whole logits: values, gradients, every head."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import tiny
from heedful.engine import score
from heedful.engine.batch import collate
from heedful.engine.fit import Term, fit
from heedful.engine.head import linear_head
from heedful.engine.kernels import library
from heedful.engine.optim import Optimizer
from heedful.engine.score import columns, use_packed_attention
from heedful.losses import next_token, ppo_clip
from heedful.nn import logprob
from heedful.nn.logprob import Head, token_logprobs

MORE: dict[str, Any] = {
    "cohere": hf.CohereConfig(**tiny._COMMON, logit_scale=0.3),
    "gemma3": hf.Gemma3TextConfig(**tiny._COMMON, head_dim=8, final_logit_softcapping=4.0),
    "phi": hf.PhiConfig(**tiny._COMMON),
}
CONFIGS = {**tiny.configs(), **MORE, "granite": hf.GraniteConfig(**tiny._COMMON, logits_scaling=3.0)}


def whole(hidden: Tensor, head: Head, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The plain computation, in fp64."""
    z = head.scale * torch.nn.functional.linear(hidden, head.weight, head.bias)
    if head.softcap is not None:
        z = head.softcap * torch.tanh(z / head.softcap)
    logp = z.log_softmax(-1)
    return logp.gather(-1, targets[:, None])[:, 0], -(logp.exp() * logp).sum(-1)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 20),
    vocabulary=st.integers(2, 40),
    rows=st.integers(1, 23),
    bias=st.booleans(),
    scale=st.sampled_from([1.0, 0.25, 2.0]),
    softcap=st.sampled_from([None, 3.0]),
    use=st.sampled_from(["logp", "entropy", "both"]),
    seed=st.integers(0, 9),
)
def test_any_cut_into_rows_equals_the_whole(
    n: int, vocabulary: int, rows: int, bias: bool, scale: float, softcap: float | None, use: str, seed: int
) -> None:
    g = torch.Generator().manual_seed(seed)
    parts = [torch.randn(*shape, generator=g) for shape in ((n, 6), (vocabulary, 6), (vocabulary,))][
        : 2 + bias
    ]
    targets = torch.randint(vocabulary, (n,), generator=g)
    on_logp, on_entropy = torch.randn(2, n, generator=g)

    def run(dtype: torch.dtype) -> list[Tensor]:
        made = [p.to(dtype, copy=True).requires_grad_() for p in parts]
        head = Head(made[1], made[2] if bias else None, scale, softcap)
        if dtype == torch.float64:
            logp, entropy = whole(made[0], head, targets)
        else:
            logp, found = token_logprobs(made[0], head, targets, entropy=use != "logp", rows=rows)
            entropy = logp if found is None else found
        loss = (logp * on_logp).sum() if use != "entropy" else torch.zeros(())
        if use != "logp":
            loss = loss + (entropy * on_entropy).sum()
        loss.backward()
        grads = [p.grad for p in made if p.grad is not None]
        assert len(grads) == len(made)
        return [logp.detach(), *([entropy.detach()] if use != "logp" else []), *grads]

    # In 1,500 draws torch's own whole computation in fp32 was 1.9e-6 off beside the relative part, this one 2.7e-6.
    for found, expected in zip(run(torch.float32), run(torch.float64), strict=True):
        torch.testing.assert_close(found.double(), expected, atol=6e-6, rtol=2e-5)


class Told:
    """A guess that is right, or wrong by a factor."""

    def __init__(self, of_logp: Tensor, of_entropy: Tensor, factor: float) -> None:
        self.of_logp, self.of_entropy, self.factor, self.misses = of_logp, of_entropy, factor, 0

    def __call__(self, part: slice, logp: Tensor, entropy: Tensor | None) -> tuple[Tensor, Tensor | None]:
        of_entropy = None if entropy is None else self.factor * self.of_entropy[part]
        return self.factor * self.of_logp[part], of_entropy

    def missed(self) -> None:
        self.misses += 1


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 20),
    rows=st.integers(1, 23),
    scale=st.sampled_from([1.0, 0.25]),
    softcap=st.sampled_from([None, 3.0]),
    entropy=st.booleans(),
    right=st.booleans(),
    seed=st.integers(0, 9),
)
def test_a_guess_changes_no_gradient(
    n: int, rows: int, scale: float, softcap: float | None, entropy: bool, right: bool, seed: int
) -> None:
    """Told rightly the backward uses it; told wrongly it computes anew, and says so."""
    g = torch.Generator().manual_seed(seed)
    parts = [torch.randn(*shape, generator=g) for shape in ((n, 6), (30, 6), (30,))]
    targets = torch.randint(30, (n,), generator=g)
    on_logp, on_entropy = torch.randn(2, n, generator=g)
    told = Told(on_logp, on_entropy, 1.0 if right else 1.01)
    gradients = []
    for guess in (None, told):
        made = [p.clone().requires_grad_() for p in parts]
        head = Head(made[1], made[2], scale, softcap)
        logp, found = token_logprobs(made[0], head, targets, entropy=entropy, rows=rows, guess=guess)
        loss = (logp * on_logp).sum() + (0.0 if found is None else (found * on_entropy).sum())
        loss.backward()
        gradients.append([p.grad for p in made])
    assert told.misses == (0 if right else 1)
    for one, other in zip(*gradients, strict=True):
        assert one is not None
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_fewer_products_where_the_loss_is_of_each_token_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Supervised and PPO steps take three products of the head where DPO takes four, and all get the same gradients."""
    monkeypatch.setattr(library, "_kept", [library.TORCH])
    model = tiny.llama()
    use_packed_attention(model)
    trees = tiny.trees()
    behaved = [
        replace(
            tree,
            branches=tuple(
                replace(b, columns={**b.columns, "behavior_logp": np.full(len(b.ids), -4.5, np.float32)})
                for b in tree.branches
            ),
        )
        for tree in trees
    ]

    def step(terms: list[Term], full: int) -> tuple[dict[str, Tensor], int]:
        chunks = 0
        made = logprob.chunks

        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal chunks
            chunks += 1
            return made(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(score, "FULL_LOGITS", full)
            patch.setattr(logprob, "ROWS", 4)
            patch.setattr(logprob, "chunks", counted)
            copied = copy.deepcopy(model)
            optimizer = Optimizer(copied, learning_rate=0.0)
            kept: dict[str, Tensor] = {}
            patch.setattr(
                optimizer,
                "step",
                lambda: kept.update({n: p.grad.clone() for n, p in copied.named_parameters()}),
            )
            list(fit(copied, [[collate(behaved)]], terms, optimizer, max_grad_norm=1e9))
        return kept, chunks

    for terms, expected in (
        ([Term(next_token)], 1),
        ([Term(ppo_clip), Term(next_token, weight=0.3)], 1),
        ([Term(entropy_of)], 1),
        ([Term(mixed)], 2),
        ([Term(simpo_like)], 2),
    ):
        gradients, chunks = step(terms, 0)
        whole_ones, none = step(terms, 2**26)
        assert (chunks, none) == (expected, 0), terms
        for name, value in whole_ones.items():
            torch.testing.assert_close(gradients[name], value, rtol=1e-5, atol=1e-6, msg=name)


def entropy_of(logp: Tensor, entropy: Tensor) -> Tensor:
    return -logp - 0.1 * entropy


def mixed(logp: Tensor) -> Tensor:
    """A loss that has a value for each token and mixes them: nothing can be told in advance."""
    return (logp - logp.mean()).square()


def simpo_like(chosen_logp: Tensor, rejected_logp: Tensor) -> Tensor:
    return rejected_logp - chosen_logp


def values_and_gradient(model: Any) -> list[Tensor]:
    found = columns(model, collate(tiny.trees()), ["logp", "entropy"])
    weight = torch.randn(2, len(found["logp"]), generator=torch.Generator().manual_seed(1))
    (found["logp"] * weight[0] + found["entropy"] * weight[1]).sum().backward()
    grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return [found["logp"].detach(), found["entropy"].detach(), *grads]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_gives_the_same_by_either_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model(CONFIGS[name])
    use_packed_attention(model)
    expected = values_and_gradient(model)
    monkeypatch.setattr(score, "FULL_LOGITS", 0)
    monkeypatch.setattr(score, "logits", None)  # must not be needed
    found = values_and_gradient(model)
    assert len(found) == len(expected)
    for a, b in zip(found[:2], expected[:2], strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)
    for a, b in zip(found[2:], expected[2:], strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm() + 1e-7


def test_a_head_that_is_not_what_the_configuration_says_is_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny.llama()
    model.lm_head.register_forward_hook(lambda module, given, out: 2 * out)
    use_packed_attention(model)
    assert linear_head(model) is None
    expected = values_and_gradient(model)
    monkeypatch.setattr(score, "FULL_LOGITS", 0)
    for a, b in zip(values_and_gradient(model), expected, strict=True):
        assert torch.equal(a, b)


class Largest(TorchDispatchMode):
    """The most elements that any tensor had."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple) else (out,):
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


def test_no_tensor_grows_with_tokens_times_vocabulary() -> None:
    n, vocabulary, rows = 64, 500, 4
    hidden, weight = (torch.randn(m, 6, requires_grad=True) for m in (n, vocabulary))
    with Largest() as seen:
        logp, entropy = token_logprobs(
            hidden, Head(weight), torch.zeros(n, dtype=torch.long), entropy=True, rows=rows
        )
        assert entropy is not None
        (logp + entropy).sum().backward()
    assert seen.numel == max(rows * vocabulary, vocabulary * 6)
