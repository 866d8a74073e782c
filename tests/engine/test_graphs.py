"""Recorded decoding steps: the same answers as without, on recorders that do not run the code a second time.

`traced` stands in for a CUDA graph: it keeps a step's tensor operations, with the buffers as its only inputs, and
refuses a step that looks at a value. The attention is one of static shapes, as Triton's is (kernels/gpu/decode.py).
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import tiny
from heedful.engine import decode, graphs, slots
from heedful.engine.attention import Variant
from heedful.engine.decode import Cache
from heedful.engine.forward import prefill
from heedful.engine.graphs import Steps, Work, bucket
from heedful.engine.kernels import library
from heedful.engine.sample import Request, Sampling, sample
from heedful.engine.score import use_packed_attention

PROMPTS = [[5, 6, 7, 8], [9, 10], [11, 12, 13]]


class Static:
    """Decode attention over all the room of the slots; a row in slot -1 is none."""

    def __init__(self, slot: Tensor, sample: Tensor, written: Tensor, prompt_length: Tensor) -> None:
        self.there, self.slot = slot >= 0, slot.clamp_min(0)
        self.sample, self.written, self.prompt = sample, written, prompt_length[self.slot]

    def takes(self, q: Tensor, stored: Tensor) -> bool:
        return True

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        prompt: tuple[Tensor, Tensor],
        answer: tuple[Tensor, Tensor],
        variant: Variant,
    ) -> Tensor:
        at = (self.slot, slice(None), self.sample, self.written)
        for stored, new in zip(answer, (k, v), strict=True):
            old = stored[at]
            value = torch.where(self.there[:, None, None], new[0].transpose(0, 1), old)
            # Rows that are none come first, so that they cannot undo what another writes to the same place.
            order = torch.argsort(self.there.int(), stable=True)
            stored[self.slot[order], :, self.sample[order], self.written[order]] = value[order]
        keys, values = (
            torch.cat([p[self.slot], a[self.slot, :, self.sample]], 2)
            for p, a in zip(prompt, answer, strict=True)
        )
        room, own = prompt[0].shape[2], answer[0].shape[3]
        seen = torch.cat(
            [
                torch.arange(room) < self.prompt[:, None],
                torch.arange(own) <= self.written[:, None],
            ],
            1,
        )
        queries = q[0].transpose(0, 1).unflatten(1, (k.shape[1], -1))
        scores = variant.scale * queries @ keys.transpose(-1, -2)
        weights = scores.masked_fill(~seen[:, None, None], float("-inf")).softmax(-1)
        return ((weights @ values).flatten(1, 2) * self.there[:, None, None])[None]


def traced(work: Work, buffers: Sequence[Tensor]) -> Callable[[], Tensor]:
    """The operations of one run, to be done again; the output stays where it is."""
    kept = make_fx(lambda *given: work(*given))(*buffers)  # it counts the arguments, `self` too
    out = kept(*buffers)

    def replay() -> Tensor:
        out.copy_(kept(*buffers))
        return out

    return replay


@pytest.fixture
def model() -> Any:
    made = tiny.model(tiny.configs()["llama"]).eval()
    use_packed_attention(made)
    return made


@pytest.fixture
def static(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Attention of static shapes, steps that are recorded, and the rows of every step that was."""
    rows: list[int] = []

    def recorder(work: Work, buffers: Sequence[Tensor]) -> Callable[[], Tensor]:
        rows.append(len(buffers[1]))
        return traced(work, buffers)

    monkeypatch.setattr(library, "_kept", [library.TORCH])
    monkeypatch.setattr(decode, "decoding", Static)
    monkeypatch.setattr(slots, "recorded_steps", lambda model, cache: Steps(model, cache, recorder))
    graphs._say.cache_clear()
    yield rows
    graphs._say.cache_clear()


def requests(count: int = 7, each: int = 3) -> list[Request]:
    rng = np.random.default_rng(0)
    return [
        Request(
            rng.integers(3, tiny.VOCAB, rng.integers(1, 9)).tolist(), tuple(range(each * i, each * (i + 1)))
        )
        for i in range(count)
    ]


def answers(model: Any) -> list[Any]:
    found = sample(model, requests(), Sampling(24), stop=list(range(2, 9)), slots=4)
    return [answer for row in found for answer in row]


def test_answers_are_the_same_with_recorded_steps(model: Any, static: list[int]) -> None:
    """Prompts come and answers end, so that rows move and buckets change; each bucket is recorded once."""
    found = answers(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots, "recorded_steps", lambda model, cache: None)
        expected = answers(model)
    assert len({len(a.ids) for a in expected}) > 4
    for a, b in zip(found, expected, strict=True):
        assert a.ids.tolist() == b.ids.tolist()
        np.testing.assert_allclose(a.logp, b.logp, atol=1e-5)
    assert len(static) == len(set(static)) > 2
    assert set(static) <= {1, 2, 4, 8, 12}


def started(model: Any) -> tuple[Cache, Tensor]:
    """A cache with prompts in its slots, and their lengths."""
    cache = Cache(slots=3, samples=2, prompt_room=4, answer_room=5)
    with torch.no_grad():
        prefill(model, cache, PROMPTS, torch.arange(3))
    return cache, torch.tensor([len(p) for p in PROMPTS])


def test_rows_that_fill_up_a_bucket_change_nothing(model: Any, static: list[int]) -> None:
    """Three rows in a bucket of four, after a step of four: what that left in the buffers plays no part."""
    first = torch.tensor([[0, 1, 2, 0], [0, 0, 0, 1], [20, 21, 22, 23], [0, 0, 0, 0]])
    second = torch.tensor([[0, 1, 2], [0, 0, 0], [30, 31, 32], [1, 1, 1]])
    found, kept = {}, {}
    for name in ("recorded", "plain"):
        cache, length = started(model)
        step = Steps(model, cache, traced)
        step.failed = name == "plain"
        with torch.no_grad():
            found[name] = [step(length, *rows).clone() for rows in (first, second)]
        kept[name] = [stored for layer in cache.answer.values() for stored in layer]
    for a, b in zip(found["recorded"], found["plain"], strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    for a, b in zip(kept["recorded"], kept["plain"], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        assert torch.equal(a == 0, b == 0)


def test_a_step_that_looks_at_values_is_not_recorded_and_that_is_said_once(
    model: Any, static: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Torch's own path asks how many slots are in use: a recording of that would be wrong in the next step."""
    monkeypatch.setattr(decode, "decoding", lambda *rows: None)
    with caplog.at_level(logging.WARNING):
        found = [answers(model) for _ in range(2)][1]
    assert static == [12, 12]
    assert sum("cannot be recorded as CUDA graphs" in line for line in caplog.messages) == 1
    monkeypatch.setattr(slots, "recorded_steps", lambda model, cache: None)
    for a, b in zip(found, answers(model), strict=True):
        assert a.ids.tolist() == b.ids.tolist()


def test_nothing_is_recorded_on_a_cpu(model: Any) -> None:
    assert graphs.recorded_steps(model, started(model)[0]) is None


@pytest.mark.parametrize(("rows", "size"), [(1, 1), (2, 2), (3, 4), (9, 16), (16, 16), (17, 20), (20, 20)])
def test_buckets_are_powers_of_two_up_to_all_there_can_be(rows: int, size: int) -> None:
    assert bucket(rows, 20) == size
