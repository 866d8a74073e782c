"""Triton's decode attention is torch's on random shapes, in Triton's interpreter."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_decode_kernel import Case, case, cases
from torch import Tensor

FEW = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


def by_triton(one: Case) -> Tensor:
    from heedful.engine.kernels.gpu.decode import TritonDecode

    step = TritonDecode(one.slot, one.sample, one.written, one.prompt_length)
    assert step.takes(one.q, one.answer[0])
    return step.attend(one.q, one.k, one.v, one.prompt, one.answer, one.variant)


@FEW
@given(one=cases, bf16=st.booleans())
def test_it_is_torchs(triton_rows: Any, one: Case, bf16: bool) -> None:
    if bf16:
        one = one.to(torch.bfloat16)
    wide = one.to(torch.float32).copied()
    expected, found = wide.by_torch(), by_triton(one)
    assert found.dtype == one.q.dtype
    # The interpreter cuts a number to bf16 where a GPU rounds it.
    torch.testing.assert_close(
        found.float(), expected, rtol=2**-7 if bf16 else 2e-5, atol=1e-3 if bf16 else 2e-5
    )
    for stored, in_torch in zip(one.answer, wide.answer, strict=True):
        assert torch.equal(stored.float(), in_torch)


def test_a_row_is_the_same_bits_alone_and_in_a_crowd(triton_rows: Any) -> None:
    one = case(5, window=30, softcap=20.0, sinks=True)
    crowd = by_triton(one.copied())
    for row in range(len(one.slot)):
        alone = by_triton(one.rows(torch.tensor([row])).copied())
        assert torch.equal(alone[0, 0], crowd[0, row])


@pytest.mark.parametrize("window", [None, 7])
def test_a_row_in_no_slot_reads_and_writes_nothing(triton_rows: Any, window: int | None) -> None:
    """What fills up the bucket of a recorded step."""
    one = case(6, window=window)
    expected = one.copied()
    out = by_triton(expected)
    wider = one.rows(torch.cat([torch.arange(len(one.slot)), torch.tensor([0, 0])])).copied()
    wider = replace(wider, slot=torch.cat([one.slot, torch.tensor([-1, -1])]))
    found = by_triton(wider)
    assert torch.equal(found[:, :-2], out)
    assert not bool(found[:, -2:].any())
    assert all(map(torch.equal, wider.answer, expected.answer))
