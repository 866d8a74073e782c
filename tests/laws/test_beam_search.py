"""Beam search is transformers' `generate`, and its log-probs are a fresh forward's."""

from typing import Any, Literal

import numpy as np
import pytest
import torch

import tiny
from heedful.engine.batch import Tree, answer_node, prompt_node
from heedful.engine.sample import Request, Sampling, sample
from heedful.engine.score import sequence_columns, use_packed_attention
from heedful.errors import UserError


def requests(n: int, lengths: tuple[int, ...] = (5, 17, 2, 12)) -> list[Request]:
    rng = np.random.default_rng(1)
    return [Request(rng.integers(3, tiny.VOCAB, length).tolist(), tuple(range(n))) for length in lengths]


def by_transformers(model: Any, how: Sampling, n: int, stop: list[int]) -> list[list[list[int]]]:
    found = []
    for request in requests(n):
        out = model.generate(
            torch.tensor([request.prompt]),
            do_sample=False,
            num_beams=how.num_beams,
            num_return_sequences=n,
            length_penalty=how.length_penalty,
            early_stopping=how.early_stopping,
            max_new_tokens=how.max_completion_length,
            eos_token_id=stop,
            pad_token_id=0,
        )
        rows = out[:, len(request.prompt) :].tolist()
        ends = [next((i + 1 for i, t in enumerate(r) if t in stop), len(r)) for r in rows]
        found.append([r[:end] for r, end in zip(rows, ends, strict=True)])
    return found


@pytest.mark.parametrize("early_stopping", [False, True, "never"])
@pytest.mark.parametrize("length_penalty", [1.0, 0.0, 2.0, -1.0])
@pytest.mark.parametrize(("name", "stop"), [("llama", [2, 3, 4, 5, 6]), ("gemma2", [2])])
def test_beams_are_transformers(
    name: str, stop: list[int], length_penalty: float, early_stopping: bool | Literal["never"]
) -> None:
    model = tiny.model(tiny.configs()[name])
    how = Sampling(12, num_beams=4, length_penalty=length_penalty, early_stopping=early_stopping)
    expected = by_transformers(model, how, 3, stop)
    use_packed_attention(model)
    found = sample(model, requests(3), how, stop=stop, slots=3)
    assert [[a.ids.tolist() for a in row] for row in found] == expected
    assert all(a.finished == (a.ids[-1] in stop) for row in found for a in row)


@pytest.mark.parametrize("name", ["llama", "mistral", "gpt_oss"])
def test_log_probs_of_beams_are_a_fresh_forwards(name: str) -> None:
    model = tiny.model(tiny.configs()[name])
    use_packed_attention(model)
    asked = requests(3)
    found = sample(model, asked, Sampling(14, num_beams=3), stop=[2, 3])
    trees = [
        Tree(prompt_node(r.prompt), tuple(answer_node(a.ids) for a in row))
        for r, row in zip(asked, found, strict=True)
    ]
    for row, columns in zip(found, sequence_columns(model, trees, "logp"), strict=True):
        scores = [float(a.logp.mean()) for a in row]
        assert scores == sorted(scores, reverse=True)
        for answer, logp in zip(row, columns, strict=True):
            torch.testing.assert_close(torch.from_numpy(answer.logp), logp, atol=5e-5, rtol=1e-4)


def test_more_answers_than_beams_is_one_sentence() -> None:
    model = tiny.llama()
    use_packed_attention(model)
    with pytest.raises(UserError, match="raise num_beams"):
        sample(model, requests(5), Sampling(4, num_beams=3), stop=[2])
