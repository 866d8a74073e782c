"""A step taken by several processes is the step of one: loss, gradient norm, counts and weights (fp32)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import tiny
from heedful.engine import ranks
from heedful.engine.batch import Tree, plain
from heedful.engine.fit import Term, fit
from heedful.engine.optim import Optimizer
from heedful.engine.pairs import with_reference
from heedful.engine.train import packed, plan
from heedful.losses import kl, preference
from heedful.losses.supervised import next_token
from processes import together

EPS = 1e-3
"""Adam's, so large that a gradient of rounding errors is no step."""


def texts(n: int = 12) -> list[Tree]:
    rng = np.random.default_rng(0)
    return [plain(rng.integers(3, tiny.VOCAB, 4 + 3 * i), weight=1 + i % 3) for i in range(n)]


def answers() -> list[Tree]:
    return [tree for seed in range(4) for tree in tiny.trees(seed)]


def adapted(model: Any) -> Any:
    import peft

    torch.manual_seed(1)
    plan = peft.LoraConfig(r=3, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    return peft.inject_adapter_in_model(plan, model)


def idle(model: Any) -> Any:
    """With a parameter that no loss reaches."""
    model.idle = torch.nn.Parameter(torch.ones(3, 3))
    return model


@dataclass(frozen=True)
class Case:
    """Something to train on; `step` and `row` are tokens a step and a micro-batch.

    `later` is the tolerance after the first step: torch's Muon turns gradients in bf16, whose rounding errors are not
    those of the gradient.
    """

    trees: Callable[[], list[Tree]]
    terms: Sequence[Term]
    step: int
    row: int
    model: Callable[[Any], Any] = lambda model: model
    optimizer: str = "adamw"
    referred: bool = False
    later: float = 1e-6


CASES = {
    "one micro-batch a step": Case(texts, [Term(next_token)], 100, 200),
    "accumulation": Case(texts, [Term(next_token)], 120, 40),
    "fewer trees than processes": Case(texts, [Term(next_token)], 20, 40),
    "pairs": Case(answers, [Term(preference.dpo)], 60, 80, referred=True),
    "two terms": Case(answers, [Term(next_token), Term(kl.k3, 0.3)], 60, 40, referred=True),
    "adapters": Case(texts, [Term(next_token)], 100, 60, adapted),
    "muon": Case(texts, [Term(next_token)], 100, 60, optimizer="muon", later=1e-3),
    "a parameter without a gradient": Case(texts, [Term(next_token)], 100, 60, idle),
}


def trained(case: Case) -> dict[str, Tensor]:
    """The figures of every step and the final weights."""
    model = case.model(tiny.llama())
    trees = with_reference(tiny.llama(seed=1), case.trees()) if case.referred else case.trees()
    order = plan(trees, tokens_per_step=case.step, epochs=2, seed=0)
    optimizer = Optimizer(
        model, name=case.optimizer, learning_rate=1e-3, weight_decay=0.1, eps=EPS, matrix_learning_rate=1e-3
    )
    taken = list(fit(model, packed(trees, order, case.row), case.terms, optimizer))
    figures = [[s.loss, s.grad_norm, float(s.tokens), *s.metrics.values()] for s in taken]
    weights = {name: p.detach().contiguous() for name, p in model.named_parameters()}
    return {"figures": torch.tensor(figures, dtype=torch.float64), **weights}


def all_trained(folder: Path, size: int) -> None:
    if size > 1:
        ranks.join()
    for number, case in enumerate(CASES.values()):
        rank = torch.distributed.get_rank() if ranks.several() else 0
        save_file(trained(case), folder / f"{ranks.size()}-{rank}-{number}.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("ranks")
    for size in (1, 2, 3):
        codes, _ = together(size, all_trained, made, size)
        assert codes == [0] * size
    return made


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", CASES)
def test_any_number_of_processes_takes_the_same_steps(folder: Path, name: str, size: int) -> None:
    number, later = list(CASES).index(name), CASES[name].later
    alone = load_file(folder / f"1-0-{number}.safetensors")
    found = [load_file(folder / f"{size}-{rank}-{number}.safetensors") for rank in range(size)]
    assert len(alone["figures"]) > 2
    torch.testing.assert_close(found[0]["figures"][0], alone["figures"][0], atol=1e-6, rtol=1e-6)
    for key, expected in alone.items():
        torch.testing.assert_close(found[0][key], expected, atol=later, rtol=later)
        for other in found[1:]:
            assert torch.equal(other[key], found[0][key]), key
