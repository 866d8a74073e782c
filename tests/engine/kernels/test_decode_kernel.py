"""The compiled decode attention gives the torch path's numbers, and each row's depend on that row alone."""

import ctypes
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from heedful.engine.attention import Variant
from heedful.engine.decode import Cache, DecodeRows, _Grid
from heedful.engine.kernels.decode import DecodeKernel

FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True)
class Case:
    """One layer of one step: which rows are active, what is stored, what they ask."""

    slot: Tensor
    sample: Tensor
    written: Tensor
    prompt_length: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    prompt: tuple[Tensor, Tensor]
    answer: tuple[Tensor, Tensor]
    variant: Variant

    def to(self, dtype: torch.dtype) -> "Case":
        prompt, answer = ((a.to(dtype), b.to(dtype)) for a, b in (self.prompt, self.answer))
        q, k, v = (x.to(dtype) for x in (self.q, self.k, self.v))
        return replace(self, q=q, k=k, v=v, prompt=prompt, answer=answer)

    def rows(self, chosen: Tensor) -> "Case":
        own = {name: getattr(self, name)[chosen] for name in ("slot", "sample", "written")}
        return replace(self, **own, **{name: getattr(self, name)[:, :, chosen] for name in "qkv"})

    def copied(self) -> "Case":
        return replace(
            self,
            prompt=(self.prompt[0].clone(), self.prompt[1].clone()),
            answer=(self.answer[0].clone(), self.answer[1].clone()),
        )

    def by_kernel(self, built: ctypes.CDLL) -> Tensor:
        kernel = DecodeKernel(built, self.slot, self.sample, self.written, self.prompt_length)
        return kernel.attend(self.q, self.k, self.v, self.prompt, self.answer, self.variant)

    def by_torch(self) -> Tensor:
        slots, _, samples, room, _ = self.answer[0].shape
        cache = Cache(slots, samples, self.prompt[0].shape[2], room)
        grid = _Grid(cache, self.prompt_length, self.slot, self.sample, self.written)
        return grid.attend(self.q, self.k, self.v, self.prompt, self.answer, self.variant)


def case(
    seed: int,
    *,
    slots: int = 3,
    samples: int = 4,
    kv_heads: int = 2,
    repeat: int = 2,
    width: int = 32,
    prompt_room: int = 40,
    answer_room: int = 50,
    share: float = 0.7,
    window: int | None = None,
    softcap: float | None = None,
    sinks: bool = False,
) -> Case:
    """Random rows, in an order that does not keep a slot's together."""
    g = torch.Generator().manual_seed(seed)
    active = torch.randperm(slots * samples, generator=g)[: max(1, round(share * slots * samples))]
    heads, rows = kv_heads * repeat, len(active)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g)

    variant = Variant(width**-0.5, window, softcap, normal(heads) if sinks else None)
    return Case(
        active // samples,
        active % samples,
        torch.randint(0, answer_room, (rows,), generator=g),
        torch.randint(1, prompt_room + 1, (slots,), generator=g),
        3 * normal(1, rows, heads, width).transpose(1, 2),  # laid out as models hand them over
        normal(1, kv_heads, rows, width),
        normal(1, rows, kv_heads, width).transpose(1, 2),
        (normal(slots, kv_heads, prompt_room, width), normal(slots, kv_heads, prompt_room, width)),
        (
            normal(slots, kv_heads, samples, answer_room, width),
            normal(slots, kv_heads, samples, answer_room, width),
        ),
        variant,
    )


cases = st.builds(
    case,
    st.integers(0, 2**31),
    slots=st.integers(1, 4),
    samples=st.integers(1, 5),
    kv_heads=st.integers(1, 3),
    repeat=st.integers(1, 4),
    width=st.sampled_from([1, 8, 20, 32, 48, 64, 80, 96, 128, 130]),
    prompt_room=st.integers(1, 90),
    answer_room=st.integers(1, 90),
    share=st.floats(0, 1),
    window=st.none() | st.integers(1, 120),
    softcap=st.none() | st.floats(0.5, 50),
    sinks=st.booleans(),
)


@FEW
@given(one=cases, bf16=st.booleans())
def test_kernel_equals_torch(built: ctypes.CDLL, one: Case, bf16: bool) -> None:
    if bf16:
        one = one.to(torch.bfloat16)
    wide = one.to(torch.float32).copied()
    expected, found = wide.by_torch(), one.by_kernel(built)
    assert found.dtype == one.q.dtype
    # Inside, both sum in fp32; a bf16 answer is rounded once, at the end.
    torch.testing.assert_close(
        found.float(), expected, rtol=2**-8 if bf16 else 2e-5, atol=1e-3 if bf16 else 2e-5
    )
    for stored, in_torch in zip(one.answer, wide.answer, strict=True):
        assert torch.equal(stored.float(), in_torch)


@FEW
@given(one=cases, bf16=st.booleans())
def test_a_row_is_the_same_bits_alone_and_in_a_crowd(built: ctypes.CDLL, one: Case, bf16: bool) -> None:
    if bf16:
        one = one.to(torch.bfloat16)
    crowd = one.copied().by_kernel(built)
    neighbours = one.rows(torch.argsort(one.slot * 1000 + one.sample))
    assert torch.equal(
        neighbours.copied().by_kernel(built), crowd[:, torch.argsort(one.slot * 1000 + one.sample)]
    )
    for row in range(len(one.slot)):
        alone = one.rows(torch.tensor([row])).copied()
        assert torch.equal(alone.by_kernel(built)[0, 0], crowd[0, row])


def test_threads_do_not_change_a_bit(built: ctypes.CDLL) -> None:
    one = case(0, slots=8, kv_heads=4)
    expected = one.copied().by_kernel(built)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        found = one.copied().by_kernel(built)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nan_and_infinity_are_not_hidden(built: ctypes.CDLL, dtype: torch.dtype) -> None:
    one = case(1).to(dtype)
    one.k[0, 0, 0] = float("nan")
    one.v[0, 1, 1] = float("inf")
    out = one.by_kernel(built)
    assert out[0, 0, :2].isnan().all()
    assert out[0, 0, 2:].isfinite().all()
    assert (out[0, 1, 2:] == float("inf")).all()
    assert out[0, 2:].isfinite().all()


@pytest.mark.parametrize(
    ("name", "value"), [("slot", 3), ("slot", -1), ("sample", 4), ("written", 50), ("written", -1)]
)
def test_a_row_outside_the_slots_is_an_error_and_nothing_is_written(
    built: ctypes.CDLL, name: str, value: int
) -> None:
    one = case(2)
    outside = getattr(one, name).clone()
    outside[-1] = value
    one = replace(one, **{name: outside})
    before = one.copied()
    with pytest.raises(IndexError, match="outside the slots"):
        one.by_kernel(built)
    assert all(map(torch.equal, one.answer, before.answer))


def test_what_the_kernel_lacks_goes_to_torch(built: ctypes.CDLL) -> None:
    one = case(3).to(torch.float64)
    slots, _, samples, room, _ = one.answer[0].shape
    cache = Cache(slots, samples, one.prompt[0].shape[2], room)
    cache.prompt[0], cache.answer[0] = one.copied().prompt, one.copied().answer
    rows = DecodeRows(cache, one.prompt_length, one.slot, one.sample, one.written)
    assert rows.kernel is not None
    assert torch.equal(rows.attend(0, one.q, one.k, one.v, one.variant), one.by_torch())
