"""bf16: weights that round, masters that do not; near fp32's step, and resumed bit for bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tiny
from heedful.engine import checkpoint
from heedful.engine.batch import Packed, collate, microbatches
from heedful.engine.calibrate import standardise
from heedful.engine.fit import Step, fit
from heedful.engine.optim import Optimizer, OptimizerName
from heedful.engine.precision import dtype
from heedful.engine.score import columns, sequence_columns, use_packed_attention
from heedful.engine.stage import Stage
from heedful.engine.train import TrainingConfig
from heedful.losses.reward import bradley_terry
from heedful.losses.supervised import next_token


def rounded(model: Any) -> Any:
    """The model with its weights in bf16, and buffers as transformers keeps them when it loads such weights."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype("bf16"))
    use_packed_attention(model)
    return model


def steps(
    model: Any, optimizer: Optimizer, batches: list[list[Packed]], loss: Any = next_token, **kwargs: Any
) -> list[Step]:
    return list(fit(model, batches, loss, optimizer, max_grad_norm=1e9, **kwargs))


def test_weights_in_fp32_have_no_copies() -> None:
    model = tiny.llama()
    optimizer = Optimizer(model, learning_rate=1e-3)
    assert list(map(id, optimizer.parameters)) == list(map(id, model.parameters()))
    steps(model, optimizer, [[collate(tiny.trees())]])
    assert not any(name.endswith("master") for name in optimizer.state())


def test_updates_too_small_for_bf16_add_up_in_the_masters() -> None:
    weight = nn.Parameter(torch.ones(4, 4, dtype=torch.bfloat16))
    model = nn.Module()
    model.register_parameter("weight", weight)
    optimizer = Optimizer(model, learning_rate=1e-4, weight_decay=0.0)
    seen = []
    for _ in range(50):
        weight.grad = torch.ones_like(weight)
        optimizer.collect()
        optimizer.step()
        seen.append(float(weight.detach()[0, 0]))
    (copy,) = optimizer.parameters
    torch.testing.assert_close(copy.detach(), torch.full((4, 4), 1 - 50e-4), atol=1e-5, rtol=0)
    assert seen[0] == 1.0
    assert torch.equal(weight.detach(), copy.detach().to(torch.bfloat16))
    assert seen[-1] < 1.0


def test_gradients_of_microbatches_are_added_in_fp32() -> None:
    weight = nn.Parameter(torch.ones(4, 4, dtype=torch.bfloat16))
    model = nn.Module()
    model.register_parameter("weight", weight)
    optimizer = Optimizer(model, learning_rate=1e-4)
    for grad in (1.0, 2**-10):
        weight.grad = torch.full_like(weight, grad)
        optimizer.collect()
        assert weight.grad is None
    (copy,) = optimizer.parameters
    assert copy.grad is not None
    assert torch.equal(copy.grad, torch.full((4, 4), 1 + 2**-10))


def gradient(model: Any, weight: Tensor) -> tuple[Tensor, Tensor]:
    logp = columns(model, collate(tiny.trees()), ["logp"])["logp"]
    assert logp.dtype == torch.float32
    (logp * weight).sum().backward()
    return logp.detach(), torch.cat(
        [p.grad.float().flatten() for p in model.parameters() if p.grad is not None]
    )


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen3", "gemma2", "gpt2", "gpt_neox", "stablelm"])
def test_log_probs_and_gradients_are_near_those_of_the_same_weights_in_fp32(name: str) -> None:
    """Stated tolerance: log-probs within 3 %, the gradient within 5 % of its norm."""
    config = tiny.configs()[name]
    coarse = rounded(tiny.model(config))
    fine = tiny.model(config)
    with torch.no_grad():
        for a, b in zip(fine.parameters(), coarse.parameters(), strict=True):
            a.copy_(b)
    use_packed_attention(fine)
    n = len(collate(tiny.trees()).rows)
    weight = torch.randn(n, generator=torch.Generator().manual_seed(1)) / n
    (logp, grad), (expected, expected_grad) = gradient(coarse, weight), gradient(fine, weight)
    assert (logp - expected).norm() / expected.norm() < 0.03
    assert (grad - expected_grad).norm() / expected_grad.norm() < 0.05
    assert not torch.equal(logp, expected)


def test_any_split_into_microbatches_gives_nearly_the_same_step_in_bf16() -> None:
    """Stated tolerance: 1 % of the step's length; the sum itself is in fp32, activations are not."""
    moved = []
    for budget in (1000, 26):
        model = rounded(tiny.llama())
        optimizer = Optimizer(model, learning_rate=1e-2, eps=1e-2)
        before = [p.detach().clone() for p in optimizer.parameters]
        steps(model, optimizer, [microbatches(tiny.trees(), budget)])
        after = zip(optimizer.parameters, before, strict=True)
        moved.append(torch.cat([(p.detach() - b).flatten() for p, b in after]))
    assert (moved[0] - moved[1]).norm() / moved[0].norm() < 0.01


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_run_in_bf16_is_resumed_bit_for_bit(tmp_path: Path, name: OptimizerName) -> None:
    batches = [[collate(tiny.trees(seed))] for seed in range(6)]

    def fresh() -> tuple[Any, Optimizer]:
        model = rounded(tiny.llama())
        return model, Optimizer(model, name=name, learning_rate=1e-4, matrix_learning_rate=1e-4)

    model, optimizer = fresh()
    whole = steps(model, optimizer, batches)
    first, its = fresh()
    steps(first, its, batches[:3])
    checkpoint.save(tmp_path, 3, first, its, {})
    again, other = fresh()
    found = checkpoint.latest(tmp_path)
    assert found is not None
    found.restore(again, other)
    rest = steps(again, other, batches[3:], start=3)
    assert [s.loss for s in rest] == [s.loss for s in whole[3:]]
    for a, b in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)
    state, expected = other.state(), optimizer.state()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[key], expected[key]) for key in state)


def test_scores_and_calibration_are_fp32_on_a_bf16_body() -> None:
    scorer = rounded(tiny.model(tiny.configs()["llama"], scorer=True))
    trees = tiny.trees()
    steps(scorer, Optimizer(scorer, learning_rate=1e-3), [[collate(trees)]], bradley_terry)
    standardise(scorer, trees)
    scores = torch.stack([s for row in sequence_columns(scorer, trees, "score") for s in row])
    assert scores.dtype == torch.float32
    assert abs(float(scores.mean())) < 0.02
    assert abs(float(scores.std()) - 1) < 0.02


@pytest.mark.parametrize(
    ("place", "supported", "found"),
    [("cpu", True, "fp32"), ("cuda", True, "bf16"), ("cuda", False, "fp32")],
)
def test_what_is_left_open_is_decided_when_a_configuration_is_made(
    place: str, supported: bool, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the identity of a run says what it computed in, wherever its result is looked at later."""
    monkeypatch.setenv("HEEDFUL_DEVICE", place)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    config = TrainingConfig(output=tmp_path)
    assert config.precision == found
    assert Stage("sft", config, {}).identity["config"]["precision"] == found
    monkeypatch.setenv("HEEDFUL_DEVICE", "cpu")
    again = TrainingConfig.model_validate(config.model_dump())
    assert again == config
    assert dtype(again.precision) == {"fp32": torch.float32, "bf16": torch.bfloat16}[found]


def test_what_is_asked_for_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEEDFUL_DEVICE", "cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert TrainingConfig(output=tmp_path, precision="fp32").precision == "fp32"
    with pytest.raises(ValueError, match="precision"):
        TrainingConfig(output=tmp_path, precision="fp16")  # type: ignore[arg-type]
