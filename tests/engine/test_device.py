"""Rows are made on the CPU; all of a row that meets a model is on the model's device, whatever it is.

`meta` stands in for a device other than the CPU: it computes shapes only, and refuses most mixtures of devices.
"""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import tiny
from heedful.engine import decode
from heedful.engine.batch import Packed, collate
from heedful.engine.fit import fit
from heedful.engine.optim import Optimizer
from heedful.engine.score import columns, use_packed_attention
from heedful.engine.slots import Slots
from heedful.losses.policy import ppo_clip
from heedful.losses.supervised import next_token

META = torch.device("meta")


def tensors(packed: Packed) -> list[Tensor]:
    parts = [getattr(packed, f.name) for f in dataclasses.fields(packed)]
    return [leaf for part in parts for leaf in tree_leaves(part) if isinstance(leaf, Tensor)]


def elsewhere(name: str, *, scorer: bool = False) -> Any:
    model = tiny.model(tiny.configs()[name], scorer=scorer)
    use_packed_attention(model)
    return model.to(META)


class Mixtures(TorchDispatchMode):
    """Operations, copies apart, that were given tensors of several devices; a single number may be anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        if len({t.device.type for t in given if t.dim()}) > 1 and "copy" not in str(func):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


def test_every_tensor_of_a_row_moves() -> None:
    row = collate(tiny.trees())
    assert {t.device.type for t in tensors(row)} == {"cpu"}
    assert {t.device.type for t in tensors(row.to(META))} == {"meta"}
    assert len(tensors(row.to(META))) == len(tensors(row))
    for a, b in zip(tensors(row.to(torch.device("cpu"))), tensors(row), strict=True):
        assert a is b


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "gpt2"])
def test_columns_and_their_gradient_mix_no_devices(name: str) -> None:
    model, row = elsewhere(name), collate(tiny.trees()).to(META)
    with Mixtures() as mixtures:
        found = columns(model, row, ["logp", "entropy", "chosen_logp"])
        sum(value.sum() for value in found.values()).backward()
    assert mixtures.found == []
    assert {value.device for value in found.values()} == {META}


def test_scores_mix_no_devices() -> None:
    model, row = elsewhere("llama", scorer=True), collate(tiny.trees()).to(META)
    with Mixtures() as mixtures:
        found = columns(model, row, ["chosen_score", "rejected_score"])
    assert mixtures.found == []
    assert {value.device for value in found.values()} == {META}


@pytest.mark.parametrize("loss", [next_token, ppo_clip])
def test_a_step_takes_its_rows_to_the_model(loss: Any) -> None:
    row = collate(tiny.trees())
    row.columns["behavior_logp"] = torch.zeros(len(row.rows))
    model = elsewhere("llama")
    optimizer = Optimizer(model, learning_rate=1e-3)
    # A step ends at the first number that is read: there is none on this device.
    with Mixtures() as mixtures, pytest.raises(RuntimeError, match="meta"):
        next(fit(model, [[row]], loss, optimizer))
    assert mixtures.found == []


def test_a_decoding_step_mixes_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are kept on the CPU, keys, values and logits where the model lies."""

    class Attention:
        def takes(self, q: Tensor, stored: Tensor) -> bool:
            return {q.device, stored.device} == {META}

        def attend(self, q: Tensor, *others: Any) -> Tensor:
            return q.transpose(1, 2)

    def decoding(*rows: Tensor) -> Attention:
        assert {row.device for row in rows} == {META}
        return Attention()

    monkeypatch.setattr(decode, "decoding", decoding)
    slots = Slots(elsewhere("llama"), slots=2, samples=2, prompt_room=4, answer_room=3)
    with Mixtures() as mixtures, torch.no_grad():
        _, first = slots.join([[1, 2, 3], [4, 5]], [[7, 8], [9]])
        slots.put(slice(None), torch.tensor([1, 2, 3]))
        second = slots.step()
    assert mixtures.found == []
    assert (first.shape[0], second.shape[0]) == (2, 3)
    assert {first.device, second.device} == {META}
    assert slots.token.device.type == "cpu"
