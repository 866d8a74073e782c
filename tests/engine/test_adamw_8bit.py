"""AdamW with moments in 8 bits, and with its state on the host: near AdamW, small, and the same after a death."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import tiny
from heedful.engine import adamw_8bit, checkpoint
from heedful.engine.adamw_8bit import AdamW8bit, dynamic_map, quantised, restored
from heedful.engine.batch import microbatches
from heedful.engine.fit import Step, fit
from heedful.engine.optim import Optimizer
from heedful.losses.supervised import next_token

BATCHES = [microbatches(tiny.trees(seed), 256) for seed in range(8)]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny models are quantised too."""
    monkeypatch.setattr(adamw_8bit, "LEAST", 64)


def fresh(
    name: Any, *, offload: bool = False, dtype: torch.dtype = torch.float32
) -> tuple[nn.Module, Optimizer]:
    model = tiny.llama().to(dtype)
    return model, Optimizer(model, name=name, learning_rate=0.01, weight_decay=0.1, offload=offload)


def trained(model: nn.Module, optimizer: Optimizer, start: int, stop: int) -> list[Step]:
    return list(fit(model, BATCHES[start:stop], next_token, optimizer, start=start))


def state_of(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **optimizer.state()}


@pytest.mark.parametrize("signed", [True, False])
def test_the_map_has_256_values_over_seven_decades(signed: bool) -> None:
    values = dynamic_map(signed)
    assert len(values.unique()) == 256
    assert values[-1] == 1
    assert (values == 0).any()
    assert float(values[values > 0].min()) == pytest.approx(5.5e-7 if signed else 3.25e-7)
    assert bool((values < 0).any()) == signed


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(1, 700), signed=st.booleans(), size=st.floats(1e-20, 1e10))
def test_a_value_comes_back_within_half_a_step_of_the_map(
    seed: int, n: int, signed: bool, size: float
) -> None:
    values = size * torch.randn(n, generator=torch.Generator().manual_seed(seed))
    values = values if signed else values.abs()
    codes, scale = quantised(values, signed)
    back = restored(codes, scale, signed)
    known = dynamic_map(signed).double()
    for start in range(0, n, adamw_8bit.BLOCK):
        part = slice(start, start + adamw_8bit.BLOCK)
        largest = values[part].abs().max().double()
        nearest = (values[part].double()[:, None] - known * largest).abs().amin(1)
        off = (values[part] - back[part]).abs().double()
        assert bool((off <= nearest + 1e-5 * values[part].abs() + 1e-9 * largest).all())


def test_moments_take_two_bytes_a_weight() -> None:
    weight = nn.Parameter(torch.zeros(256, 256))
    optimizer = AdamW8bit([weight], lr=0.1, betas=(0.9, 0.95), eps=1e-8)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    taken = sum(t.numel() * t.element_size() for t in optimizer.state[weight].values())
    assert taken / weight.numel() < 2.04


def test_zeros_stay_where_they_are() -> None:
    """A row whose gradient is nothing does not move, and nothing is divided by zero."""
    weight = nn.Parameter(torch.ones(64, 128))
    optimizer = AdamW8bit([weight], lr=0.1, betas=(0.9, 0.95), eps=1e-8)
    for _ in range(3):
        weight.grad = torch.zeros_like(weight)
        weight.grad[0] = 1.0
        optimizer.step()
    assert torch.equal(weight[1:], torch.ones(63, 128))
    assert bool((weight[0] < 0.8).all())


def test_small_parameters_are_adamws() -> None:
    """Below 4,096 elements nothing is quantised."""
    one, other = (nn.Parameter(torch.linspace(-1, 1, 40).view(4, 10)) for _ in range(2))
    given = {"lr": 0.01, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    ours, theirs = AdamW8bit([one], **given), torch.optim.AdamW([other], **given)
    for step in range(5):
        for parameter, optimizer in ((one, ours), (other, theirs)):
            parameter.grad = (parameter.detach() * (step + 1)).sin()
            optimizer.step()
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_it_learns_as_adamw_does(small_blocks: None) -> None:
    """The same few texts again and again: the loss falls as far."""
    ends = {}
    for name in ("adamw", "adamw_8bit"):
        model, optimizer = fresh(name)
        steps = list(fit(model, BATCHES[:2] * 15, next_token, optimizer))
        ends[name] = sum(s.loss for s in steps[-4:]) / 4
        assert ends[name] < 0.7 * steps[0].loss
    assert ends["adamw_8bit"] == pytest.approx(ends["adamw"], rel=0.05)


@pytest.mark.parametrize("name", ["adamw", "muon", "adamw_8bit"])
def test_on_the_host_it_is_the_same_step(small_blocks: None, name: str) -> None:
    (here, optimizer), (there, offloaded) = fresh(name), fresh(name, offload=True)
    assert all(p is not c for p, c in zip(there.parameters(), offloaded.parameters, strict=True))
    one, other = trained(here, optimizer, 0, 4), trained(there, offloaded, 0, 4)
    assert [s.loss for s in one] == [s.loss for s in other]
    assert all(map(torch.equal, here.parameters(), there.parameters()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("name", "offload"), [("adamw_8bit", False), ("adamw_8bit", True), ("adamw", True)])
def test_training_continued_was_never_stopped(
    small_blocks: None, tmp_path: Path, name: str, offload: bool, dtype: torch.dtype
) -> None:
    model, optimizer = fresh(name, offload=offload, dtype=dtype)
    whole = trained(model, optimizer, 0, 6)
    half, optimizer_half = fresh(name, offload=offload, dtype=dtype)
    first = trained(half, optimizer_half, 0, 3)
    checkpoint.save(tmp_path, 3, half, optimizer_half, {}, identity="run")
    again, optimizer_again = fresh(name, offload=offload, dtype=dtype)
    trained(again, optimizer_again, 6, 8)
    found = checkpoint.latest(tmp_path, identity="run")
    assert found is not None
    found.restore(again, optimizer_again)
    second = trained(again, optimizer_again, 3, 6)
    one, other = state_of(again, optimizer_again), state_of(model, optimizer)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[k], other[k]) for k in one)
    assert [(s.loss, s.grad_norm) for s in first + second] == [(s.loss, s.grad_norm) for s in whole]
