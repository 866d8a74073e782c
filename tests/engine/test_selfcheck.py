"""Selfcheck passes on sound models of every kind, and each law fails when what it guards is broken."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny
from heedful.engine import sample as sampling
from heedful.engine import selfcheck
from heedful.engine.attention import TreeRows, Variant, masked_attention
from heedful.engine.batch import Packed
from heedful.engine.layout import Layout
from heedful.engine.optim import Optimizer
from heedful.engine.sample import Sampling
from heedful.engine.score import use_packed_attention
from heedful.errors import UserError

CONFIGS = {**tiny.configs(), **tiny.padded_configs()}
QUICK = ("llama", "gpt_oss", "falcon")
Patch = pytest.MonkeyPatch


def findings(model: Any) -> dict[str, selfcheck.Finding]:
    rng = np.random.default_rng(0)
    return {f.law: f for f in selfcheck.check(model, lambda n: rng.integers(tiny.VOCAB, size=n))}


def failed(model: Any) -> set[str]:
    return {name for name, finding in findings(model).items() if not finding.passed}


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CONFIGS]
)
def test_every_law_holds(name: str) -> None:
    found = findings(tiny.model(CONFIGS[name]))
    assert len(found) == 14
    assert {f.law: f.difference for f in found.values() if not f.passed} == {}
    assert all(f.difference is not None for f in found.values())


def leak(patch: Patch) -> None:
    def attend(self: TreeRows, layer: int, q: Tensor, k: Tensor, v: Tensor, variant: Variant) -> Tensor:
        mask = torch.ones(self.layout.total, self.layout.total).tril().bool()
        return masked_attention(q, k, v, mask, variant).transpose(1, 2)

    patch.setattr(TreeRows, "attend", attend)


def restarted_positions(patch: Patch) -> None:
    original = Layout.__init__

    def changed(self: Layout, shapes: Any) -> None:
        original(self, shapes)
        for group in self.groups:
            for start, end in group.branches:
                self.positions[start:end] = torch.arange(end - start)

    patch.setattr(Layout, "__init__", changed)


def count_of_a_microbatch(patch: Patch) -> None:
    original = Packed.count
    patch.setattr(Packed, "count", lambda self, unit: original(self, unit) + 1)


def wrong_log_probs(patch: Patch) -> None:
    original = sampling.choose

    def choose(*args: Any) -> tuple[Any, ...]:
        token, logp, *rest = original(*args)
        return token, logp + 0.01, *rest

    patch.setattr(sampling, "choose", choose)


def numbers_by_row(patch: Patch) -> None:
    original = sampling.uniform
    patch.setattr(sampling, "uniform", lambda keys, counters: original(torch.arange(len(keys)), counters))


def second_best(patch: Patch) -> None:
    original = sampling.choose

    def choose(logits: Tensor, uniforms: Tensor, how: Sampling, *rest: Any) -> tuple[Any, ...]:
        if how.temperature:
            return original(logits, uniforms, how, *rest)
        return original(logits.scatter(-1, logits.argmax(-1, keepdim=True), -1e9), uniforms, how, *rest)

    patch.setattr(sampling, "choose", choose)


def forgotten_moments(patch: Patch) -> None:
    patch.setattr(Optimizer, "load_state", lambda self, state: None)


@pytest.mark.parametrize(
    ("fault", "laws"),
    [
        (leak, {"packed_logits", "packed_gradient", "tree_logits", "tree_loss", "tree_gradient"}),
        (restarted_positions, {"tree_logits", "tree_loss", "tree_gradient", "sampled_logp"}),
        (count_of_a_microbatch, {"packed_loss", "accumulated_loss", "accumulated_gradient"}),
        (wrong_log_probs, {"sampled_logp"}),
        (numbers_by_row, {"crowd"}),
        (second_best, {"greedy"}),
        (forgotten_moments, {"resumed"}),
    ],
    ids=lambda f: getattr(f, "__name__", ""),
)
def test_a_fault_fails_the_laws_that_it_breaks(
    fault: Callable[[Patch], None], laws: set[str], monkeypatch: Patch
) -> None:
    model = tiny.llama()
    fault(monkeypatch)
    found = failed(model)
    assert laws <= found
    if len(laws) == 1:
        assert found == laws


def test_a_tie_is_told_from_a_difference() -> None:
    model = tiny.llama()
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    prompt, how = np.array([5, 9, 30]), Sampling(4, temperature=0)
    with torch.no_grad():
        best = int(model(torch.from_numpy(prompt)[None]).logits[0, -1].argmax())
        twin, other = (best + 1) % tiny.VOCAB, (best + 2) % tiny.VOCAB
        model.lm_head.weight[twin] = model.lm_head.weight[best]
    use_packed_attention(model)

    def verdict(one: list[int], two: list[int]) -> bool | None:
        return selfcheck._verdict(model, prompt, np.array(one), np.array(two), how, 0)

    assert verdict([best, 3], [best, 3]) is True
    assert verdict([best, 3], [twin, 4]) is None
    assert verdict([best], [other]) is False
    assert verdict([best, 3], [best]) is False


def test_damaged_weights_are_an_error_with_a_sentence() -> None:
    model = tiny.llama()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match="its weights are damaged"):
        findings(model)


def test_of_a_large_model_one_layer_alone_is_saved(monkeypatch: Patch) -> None:
    sizes = []
    original = selfcheck.checkpoint.save

    def save(folder: Any, step: int, part: Any, *rest: Any) -> None:
        sizes.append(sum(p.numel() for p in part.parameters()))
        original(folder, step, part, *rest)

    monkeypatch.setattr(selfcheck.checkpoint, "save", save)
    whole = tiny.llama()
    assert failed(whole) == set()
    monkeypatch.setattr(selfcheck, "_SMALL", 1000)
    assert failed(tiny.llama()) == set()
    layer = sum(p.numel() for p in whole.model.layers[0].parameters())
    assert sizes == [sum(p.numel() for p in whole.parameters()), layer]
