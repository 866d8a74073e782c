"""The laws of sampling hold with the compiled kernel as without, in fp32 and with bf16 weights."""

import ctypes
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from heedful.engine.batch import Tree, answer_node, prompt_node
from heedful.engine.kernels.decode import DecodeKernel
from heedful.engine.randomness import key
from heedful.engine.sample import Request, Sample, Sampling, sample
from heedful.engine.score import sequence_columns, use_packed_attention


def requests(n: int) -> list[Request]:
    rng = np.random.default_rng(0)
    return [
        Request(rng.integers(3, tiny.VOCAB, length).tolist(), tuple(key("s", i, j) for j in range(n)))
        for i, length in enumerate((5, 17, 9, 2, 12))
    ]


def worst_gap(model: torch.nn.Module, asked: list[Request], answers: list[list[Sample]]) -> float:
    """The largest difference between the sampler's log-probs and those of one forward over whole texts."""
    trees = [
        Tree(prompt_node(r.prompt), tuple(answer_node(a.ids) for a in row))
        for r, row in zip(asked, answers, strict=True)
    ]
    fresh = sequence_columns(model, trees, "logp")
    return max(
        float((torch.from_numpy(a.logp) - logp.float()).abs().max())
        for row, found in zip(answers, fresh, strict=True)
        for a, logp in zip(row, found, strict=True)
    )


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "gpt2", "gpt_oss"])
def test_log_probs_are_a_fresh_forwards(
    built: ctypes.CDLL, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    attend = DecodeKernel.attend
    monkeypatch.setattr(DecodeKernel, "attend", lambda *args: calls.append(1) or attend(*args))
    model = tiny.model(tiny.configs()[name])
    use_packed_attention(model)
    asked = requests(3)
    answers = sample(model, asked, Sampling(24), stop=[2, 3, 4], slots=2)
    assert calls
    assert worst_gap(model, asked, answers) < 1e-4


def test_a_seeded_request_is_the_same_alone_and_in_a_crowd(built: ctypes.CDLL) -> None:
    model = tiny.llama()
    use_packed_attention(model)
    crowd = sample(model, requests(4), Sampling(20), stop=[2], slots=3)
    for request, row in zip(requests(4), crowd, strict=True):
        for j, k in enumerate(request.keys):
            alone = sample(model, [Request(request.prompt, (k,))], Sampling(20), stop=[2])[0][0]
            assert alone.ids.tolist() == row[j].ids.tolist()


def in_bf16() -> torch.nn.Module:
    """A model of the usual initial scale: logits of a few units, where bf16 is good to a few hundredths."""
    torch.manual_seed(0)
    model = tiny.llama()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    use_packed_attention(model)
    return model.to(torch.bfloat16)


def assert_bf16_agrees(model: torch.nn.Module) -> None:
    asked = requests(3)
    answers = sample(model, asked, Sampling(24), stop=[2], slots=3)
    assert worst_gap(model, asked, answers) < 0.05
    # And with what the same weights say in fp32: rounding to bf16 on the way moves a log-prob by no more.
    assert worst_gap(model.float(), asked, answers) < 0.1


def test_bf16_weights_with_the_kernel(built: ctypes.CDLL) -> None:
    assert_bf16_agrees(in_bf16())


def test_bf16_weights_without_the_kernel(no_kernel: Path) -> None:
    assert_bf16_agrees(in_bf16())
