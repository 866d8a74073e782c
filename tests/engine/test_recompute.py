"""Gradient checkpointing changes what is kept, not what is computed."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tiny
from heedful.engine.batch import collate
from heedful.engine.recompute import recompute_layers
from heedful.engine.sample import Request, Sampling, sample
from heedful.engine.score import columns, use_packed_attention
from heedful.errors import UserError


def learnt(model: Any, name: str) -> tuple[Tensor, dict[str, Tensor], int]:
    """Loss, gradients, and how many bytes the forward kept for the backward, weights apart."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    model.zero_grad()
    packed = collate(tiny.trees())
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        loss = columns(model, packed, [name])[name].square().sum()
    # The rows of the forward are no longer set here: the recomputation has to know them by itself.
    loss.backward()
    return (
        loss.detach(),
        {n: p.grad for n, p in model.named_parameters() if p.grad is not None},
        sum(kept.values()),
    )


@pytest.mark.parametrize("scorer", [False, True])
@pytest.mark.parametrize("kind", tiny.configs())
def test_loss_and_gradients_are_the_same_numbers(kind: str, scorer: bool) -> None:
    if scorer and kind == "granite":
        pytest.skip("transformers has no sequence classification for granite")
    model = tiny.model(tiny.configs()[kind], scorer=scorer)
    use_packed_attention(model)
    name = "score" if scorer else "logp"
    loss, grads, kept = learnt(model, name)
    recompute_layers(model)
    again, same, less = learnt(model, name)
    assert torch.equal(loss, again)
    assert grads.keys() == same.keys()
    for parameter, grad in grads.items():
        torch.testing.assert_close(same[parameter], grad, rtol=0, atol=0, msg=parameter)
    assert less < kept / 2


def test_sampling_is_not_touched() -> None:
    model = tiny.llama()
    use_packed_attention(model)
    requests = [Request([1, 5, 9], (3, 4)), Request([1, 7], (5, 6))]

    def texts() -> list[list[list[int]]]:
        return [[s.ids.tolist() for s in row] for row in sample(model, requests, Sampling(6), stop=[2])]

    before = texts()
    recompute_layers(model)
    assert texts() == before


def test_a_model_without_such_layers_is_an_error() -> None:
    with pytest.raises(UserError, match="gradient_checkpointing=false"):
        recompute_layers(nn.Linear(1, 1))
