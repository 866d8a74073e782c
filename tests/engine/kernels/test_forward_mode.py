"""TRPO's Fisher products need a forward-mode derivative, which the kernels do not have: torch computes it."""

import ctypes

import pytest
import torch
import transformers as hf

import tiny
from heedful.engine.batch import collate
from heedful.engine.kernels import library
from heedful.engine.score import use_packed_attention
from heedful.engine.trust_region import fisher_product


def test_a_fisher_product_is_torchs_where_kernels_are_in_use(built: ctypes.CDLL) -> None:
    model = tiny.model(hf.LlamaConfig(**tiny._COMMON))
    use_packed_attention(model)
    packed = collate(tiny.trees())
    packed.ids, packed.targets = 3 + packed.ids % 40, 3 + packed.targets % 40
    names = [name for name, _ in model.named_parameters()]
    v = torch.randn(sum(p.numel() for p in model.parameters()), generator=torch.Generator().manual_seed(0))
    found = fisher_product(model, names, [packed], v)
    with library.paused():
        assert library.built() is None
        expected = fisher_product(model, names, [packed], v)
    assert library.built() is built
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_a_pause_ends_with_an_error_too(built: ctypes.CDLL) -> None:
    with pytest.raises(ZeroDivisionError), library.paused():
        1 / 0  # noqa: B018
    assert library.built() is built
