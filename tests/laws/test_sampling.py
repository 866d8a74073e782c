"""Law 2: the sampler's log-probs are a fresh forward's; a seeded request gives the same text alone and in a crowd."""

import numpy as np
import pytest
import torch
from scipy import stats

import tiny
from heedful.engine.batch import Tree, answer_node, prompt_node
from heedful.engine.randomness import key, uniform
from heedful.engine.sample import Request, Sampling, choose, sample
from heedful.engine.score import sequence_columns, use_packed_attention


def requests(n: int, lengths: tuple[int, ...] = (5, 17, 9, 2, 12)) -> list[Request]:
    rng = np.random.default_rng(0)
    return [
        Request(rng.integers(3, tiny.VOCAB, length).tolist(), tuple(key("s", i, j) for j in range(n)))
        for i, length in enumerate(lengths)
    ]


@pytest.mark.parametrize("name", tiny.configs())
@pytest.mark.parametrize("slots", [2, 64])
def test_log_probs_are_a_fresh_forwards(name: str, slots: int) -> None:
    model = tiny.model(tiny.configs()[name])
    use_packed_attention(model)
    asked = requests(3)
    answers = sample(model, asked, Sampling(24), stop=[2, 3, 4], slots=slots)
    trees = [
        Tree(prompt_node(r.prompt), tuple(answer_node(a.ids) for a in row))
        for r, row in zip(asked, answers, strict=True)
    ]
    for row, found in zip(answers, sequence_columns(model, trees, "logp"), strict=True):
        for a, logp in zip(row, found, strict=True):
            torch.testing.assert_close(torch.from_numpy(a.logp), logp, atol=5e-5, rtol=1e-4)
    lengths = {len(a.ids) for row in answers for a in row}
    assert len(lengths) > 1, "answers of one length only do not test that finished rows leave"


def test_a_seeded_request_is_the_same_alone_and_in_a_crowd() -> None:
    model = tiny.llama()
    use_packed_attention(model)
    crowd = sample(model, requests(4), Sampling(20), stop=[2], slots=3)
    for request, row in zip(requests(4), crowd, strict=True):
        for j, k in enumerate(request.keys):
            alone = sample(model, [Request(request.prompt, (k,))], Sampling(20), stop=[2])[0][0]
            assert alone.ids.tolist() == row[j].ids.tolist()


def test_greedy_equals_transformers_generate() -> None:
    model = tiny.llama()
    asked = requests(1)
    expected = tiny.greedy_by_transformers(model, [list(r.prompt) for r in asked], 15)
    use_packed_attention(model)
    found = sample(model, asked, Sampling(15, temperature=0), stop=[2])
    assert [row[0].ids.tolist() for row in found] == expected


def test_an_answer_ends_with_the_stop_token_or_is_marked_unfinished() -> None:
    model = tiny.llama()
    use_packed_attention(model)
    stop = list(range(2, 20))
    ended = set()
    for row in sample(model, requests(4), Sampling(6), stop=stop):
        for answer in row:
            assert answer.finished == (int(answer.ids[-1]) in stop)
            assert not np.isin(answer.ids[:-1], stop).any()
            assert answer.finished or len(answer.ids) == 6
            ended.add(answer.finished)
    assert ended == {True, False}


def test_tokens_follow_the_models_distribution() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0, -8.0]])
    n = 40_000
    u = uniform(torch.arange(n), torch.zeros(n, dtype=torch.long))
    for how, kept in ((Sampling(), 5), (Sampling(temperature=0.7), 5), (Sampling(top_k=2), 2)):
        token, logp, _ = choose(logits.expand(n, -1), u, how)
        p = (logits[0] / how.temperature).softmax(-1)
        torch.testing.assert_close(logp, p.log()[token])
        q = (p[:kept] / p[:kept].sum()).numpy()
        counts = np.bincount(token.numpy(), minlength=kept)
        assert len(counts) == kept
        assert stats.chisquare(counts, n * q.astype(np.float64) / q.sum(dtype=np.float64)).pvalue > 1e-3


def test_nucleus_keeps_the_smallest_set_that_reaches_top_p() -> None:
    p = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    u = torch.linspace(0, 0.999, 1000, dtype=torch.float64)
    token, _, _ = choose(p.log().expand(1000, -1), u, Sampling(top_p=0.7))
    assert set(token.tolist()) == {0, 1}


def test_random_numbers_depend_on_names_only_and_are_uniform() -> None:
    keys = torch.tensor([key("a", i) for i in range(2000)])
    u = uniform(keys[:, None], torch.arange(20)[None])
    assert torch.equal(u[7, 3], uniform(keys[7:8], torch.tensor([3]))[0])
    assert stats.kstest(u.flatten().numpy(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(u[:, 0], u[:, 1])[0, 1]) < 0.08
