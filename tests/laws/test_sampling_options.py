"""Every option of the sampler means what transformers and vLLM mean by it, alone and in a crowd."""

import itertools
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
import transformers as hf
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from heedful.engine.choose import Used, choose, draw, penalise, truncate
from heedful.engine.randomness import key, uniform
from heedful.engine.sample import Request, Sampling, sample
from heedful.engine.score import use_packed_attention
from heedful.engine.stops import cut
from heedful.engine.tokenizer import train_bpe
from heedful.errors import UserError

EVERYTHING = Sampling(
    24,
    temperature=1.4,
    top_k=40,
    top_p=0.95,
    min_p=0.01,
    repetition_penalty=1.2,
    presence_penalty=0.3,
    frequency_penalty=0.2,
    stop_token_ids=(5,),
    behavior_logp=True,
)


def requests(n: int, lengths: tuple[int, ...] = (5, 17, 9, 2, 12)) -> list[Request]:
    rng = np.random.default_rng(0)
    return [
        Request(rng.integers(3, tiny.VOCAB, length).tolist(), tuple(key("o", i, j) for j in range(n)))
        for i, length in enumerate(lengths)
    ]


def random_logits(seed: int, rows: int = 4, size: int = 60) -> torch.Tensor:
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed)) * 3


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    temperature=st.sampled_from([0.3, 1.0, 1.7]),
    top_k=st.sampled_from([0, 1, 5, 500]),
    top_p=st.sampled_from([0.2, 0.8, 0.97, 1.0]),
    min_p=st.sampled_from([0.0, 0.03, 0.4]),
    repetition_penalty=st.sampled_from([0.8, 1.0, 1.5]),
)
def test_options_are_transformers_logits_processors(
    seed: int, temperature: float, top_k: int, top_p: float, min_p: float, repetition_penalty: float
) -> None:
    logits = random_logits(seed)
    ids = torch.randint(0, 60, (4, 20), generator=torch.Generator().manual_seed(seed))
    how = Sampling(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
    )
    chain: list[Any] = [
        hf.RepetitionPenaltyLogitsProcessor(repetition_penalty),
        hf.TemperatureLogitsWarper(temperature),
    ]
    chain += [hf.TopKLogitsWarper(top_k)] if top_k else []
    chain += [hf.TopPLogitsWarper(top_p)] if top_p < 1 else []
    chain += [hf.MinPLogitsWarper(min_p)] if min_p else []
    scores = logits.clone()
    for processor in chain:
        scores = processor(ids, scores)
    changed = penalise(logits, how, used(ids[:, :12], ids[:, 12:]))
    p = truncate((changed / temperature).softmax(-1), how)
    torch.testing.assert_close(p / p.sum(-1, keepdim=True), scores.softmax(-1), atol=1e-6, rtol=1e-5)


def used(prompt: torch.Tensor, answer: torch.Tensor, size: int = 60) -> Used:
    counts = torch.zeros(len(answer), size, dtype=torch.int32)
    in_prompt = torch.zeros(len(answer), size, dtype=torch.bool)
    for row, (ours, asked) in enumerate(zip(answer.tolist(), prompt.tolist(), strict=True)):
        in_prompt[row, asked] = True
        for token in ours:
            counts[row, token] += 1
    return Used(counts, in_prompt)


def test_presence_and_frequency_penalties_look_at_the_answer_only() -> None:
    logits = random_logits(3, rows=1, size=6)
    seen = used(torch.tensor([[0, 1]]), torch.tensor([[2, 3, 3, 3]]), 6)
    found = penalise(logits, Sampling(presence_penalty=0.5, frequency_penalty=0.25), seen)
    expected = logits - torch.tensor([[0, 0, 0.75, 1.25, 0, 0]])
    torch.testing.assert_close(found, expected)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.sampled_from([255, 256, 300, 1000, 4096]),
    scale=st.sampled_from([0.1, 3.0, 12.0, 60.0]),
    zeros=st.sampled_from([0.0, 0.5, 0.99]),
)
def test_drawing_by_blocks_gives_the_running_sums_token(
    seed: int, size: int, scale: float, zeros: float
) -> None:
    g = torch.Generator().manual_seed(seed)
    p = (torch.randn(8, size, generator=g) * scale).softmax(-1)
    p = p.masked_fill((torch.rand(8, size, generator=g) < zeros) & (p < p.amax(-1, keepdim=True)), 0.0)
    cdf = p.cumsum(-1, dtype=torch.float64)
    share = cdf / cdf[:, -1:]
    at = torch.randint(0, size, (8, 1), generator=g)
    edge = share.gather(1, at)[:, 0].clamp_max(1 - 2**-53)  # where rounding decides
    for u in (
        torch.rand(8, dtype=torch.float64, generator=g),
        edge,
        edge * (1 - 2**-52),
        torch.zeros(8).double(),
    ):
        expected = torch.searchsorted(cdf, u[:, None] * cdf[:, -1:], right=True)[:, 0]
        last = torch.tensor([int(row.nonzero().max()) for row in p])
        assert torch.equal(draw(p, u), torch.minimum(expected, last))


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_behavior_log_probs_sum_to_one_over_the_kept_tokens(temperature: float) -> None:
    logits = random_logits(1, rows=1, size=300)
    n = 4000
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    how = Sampling(temperature=temperature, top_k=8, min_p=0.3, behavior_logp=True)
    token, logp, behavior = choose(logits.expand(n, -1), u, how)
    assert behavior is not None
    kept = {int(t): float(b.exp()) for t, b in zip(token, behavior, strict=True)}
    assert 1 < len(kept) < 8
    assert sum(kept.values()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(logp, (logits / temperature).log_softmax(-1)[0, token])


def test_behavior_log_probs_without_options_are_the_models_and_greedy_is_certain() -> None:
    model = tiny.llama()
    use_packed_attention(model)
    for how, same in ((Sampling(9, behavior_logp=True), True), (Sampling(9, 0, behavior_logp=True), False)):
        for row in sample(model, requests(2), how, stop=[2]):
            for answer in row:
                assert answer.behavior_logp is not None
                expected = answer.logp if same else np.zeros_like(answer.logp)
                np.testing.assert_allclose(answer.behavior_logp, expected, atol=1e-5)


def test_an_option_that_is_not_asked_for_leaves_no_array() -> None:
    model = tiny.llama()
    use_packed_attention(model)
    assert sample(model, requests(1), Sampling(3), stop=[2])[0][0].behavior_logp is None


@pytest.mark.parametrize("how", [EVERYTHING, Sampling(16, 0, repetition_penalty=1.3, presence_penalty=0.5)])
def test_with_every_option_a_seeded_request_is_the_same_alone_and_in_a_crowd(how: Sampling) -> None:
    model = tiny.llama()
    use_packed_attention(model)
    ragged = [Request(r.prompt, r.keys[: 1 + i % 4]) for i, r in enumerate(requests(4))]
    for request, row in zip(ragged, sample(model, ragged, how, stop=[2], slots=2), strict=True):
        assert len(row) == len(request.keys)
        for k, answer in zip(request.keys, row, strict=True):
            alone = sample(model, [Request(request.prompt, (k,))], how, stop=[2])[0][0]
            assert alone.ids.tolist() == answer.ids.tolist()
            np.testing.assert_allclose(alone.logp, answer.logp, atol=1e-5)
            assert alone.finished == (int(alone.ids[-1]) in (2, 5))


def test_greedy_with_a_repetition_penalty_equals_transformers_generate() -> None:
    model = tiny.llama()
    asked = requests(1)
    options = {"do_sample": False, "max_new_tokens": 20, "eos_token_id": 2, "pad_token_id": 0}
    expected = []
    for r in asked:
        ids = torch.tensor([r.prompt])
        out = model.generate(ids, repetition_penalty=1.4, **options)
        assert out.tolist() != model.generate(ids, **options).tolist()
        expected.append(out[0, len(r.prompt) :].tolist())
    use_packed_attention(model)
    found = sample(model, asked, Sampling(20, 0, repetition_penalty=1.4), stop=[2], slots=2)
    assert [row[0].ids.tolist() for row in found] == expected


def test_requests_may_have_different_numbers_of_keys_and_none() -> None:
    model = tiny.llama()
    use_packed_attention(model)
    asked = [Request(r.prompt, r.keys[:n]) for r, n in zip(requests(4), (0, 4, 1, 0, 2), strict=True)]
    found = sample(model, asked, Sampling(8), stop=[2], slots=1)
    assert [len(row) for row in found] == [0, 4, 1, 0, 2]
    full = sample(model, requests(4), Sampling(8), stop=[2])
    for row, all_of_it in zip(found, full, strict=True):
        for answer, expected in zip(row, all_of_it, strict=False):
            assert answer.ids.tolist() == expected.ids.tolist()


TOKENIZER = train_bpe(["the cat sat on the mat. 猫は座った 🙂 the end"] * 4, 290)


def writer() -> Any:
    model = tiny.model(
        hf.LlamaConfig(**{**tiny._COMMON, "vocab_size": len(TOKENIZER), "max_position_embeddings": 256})
    )
    use_packed_attention(model)
    return model


def text(ids: Any) -> str:
    return str(TOKENIZER.decode(ids, skip_special_tokens=True))


def test_an_answer_ends_with_the_token_that_completes_a_stop_string() -> None:
    model, asked = writer(), requests(6)
    free = Sampling(60)
    ends: list[int] = []
    for row, request in zip(sample(model, asked, free, stop=[2]), asked, strict=True):
        for k, whole in zip(request.keys, row, strict=True):
            said = text(whole.ids)
            for at, length in itertools.product((3, 20), (1, 2, 4)):
                stop = said[at : at + length]
                if len(stop) < length or "�" in stop:
                    continue
                how = Sampling(60, stop=("never said", stop))
                one = Request(request.prompt, (k,))
                found = sample(model, [one], how, stop=[2], tokenizer=TOKENIZER)[0][0]
                n = next(i for i in range(1, 61) if stop in text(whole.ids[:i]))
                assert found.ids.tolist() == whole.ids[:n].tolist()
                np.testing.assert_allclose(found.logp, whole.logp[:n], atol=1e-5)
                assert found.finished
                assert cut(text(found.ids), how.stop) == said[: said.index(stop)]
                ends.append(n)
    assert len(ends) > 20
    assert max(ends) > 10


def test_stop_strings_find_characters_that_are_cut_between_tokens() -> None:
    model, k = writer(), key("emoji")
    smile = TOKENIZER.encode(" ok 🙂🙂!", add_special_tokens=False)
    assert len(smile) > len(" ok 🙂🙂!")
    script = iter(smile)

    class Scripted(torch.nn.Module):
        config = model.config

        def forward(self, ids: torch.Tensor, logits_to_keep: torch.Tensor, **_: Any) -> Any:
            logits = torch.full((1, len(logits_to_keep), len(TOKENIZER)), -50.0)
            logits[..., next(script)] = 50.0
            return hf.modeling_outputs.CausalLMOutput(logits=logits)

    how = Sampling(40, 0, stop=("🙂🙂",))
    with patch("heedful.engine.forward.DecodeRows", lambda *_: object()):
        found = sample(Scripted(), [Request([7], (k,))], how, stop=[2], tokenizer=TOKENIZER)[0][0]
    assert text(found.ids) == " ok 🙂🙂"
    assert cut(text(found.ids), how.stop) == " ok "


def test_the_earliest_stop_string_cuts() -> None:
    assert cut("one two three", ("three", "two")) == "one "
    assert cut("one", ("two",)) == "one"


def test_the_same_text_alone_and_in_a_crowd_with_stop_strings() -> None:
    model = writer()
    how = Sampling(60, stop=("e", "a", "t"), repetition_penalty=1.1)
    crowd = sample(model, requests(4), how, stop=[2], slots=2, tokenizer=TOKENIZER)
    ended = 0
    for request, row in zip(requests(4), crowd, strict=True):
        for k, answer in zip(request.keys, row, strict=True):
            one = Request(request.prompt, (k,))
            alone = sample(model, [one], how, stop=[2], tokenizer=TOKENIZER)[0][0]
            assert alone.ids.tolist() == answer.ids.tolist()
            ended += alone.finished and int(alone.ids[-1]) != 2
    assert ended


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"min_p": 1.5},
        {"repetition_penalty": 0.0},
        {"presence_penalty": float("inf")},
        {"stop": "text"},
        {"stop": ("",)},
        {"best_of": 0},
        {"num_beams": 0},
        {"num_beams": 2, "temperature": 0.5},
        {"num_beams": 2, "stop": ("x",)},
        {"max_completion_length": 0},
    ],
)
def test_an_impossible_option_is_one_sentence(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        Sampling(**wrong)


def test_stop_strings_need_the_tokenizer() -> None:
    with pytest.raises(UserError, match="tokenizer"):
        sample(tiny.llama(), requests(1), Sampling(3, stop=("x",)), stop=[2])


def test_uniforms_are_not_touched_by_options() -> None:
    """The n-th token of an answer always uses the n-th number of its key."""
    keys = torch.tensor([key("k")])
    logits = random_logits(5, rows=1)
    plain = choose(logits, uniform(keys, torch.tensor([4])), Sampling()).token
    off = Sampling(repetition_penalty=1.0, min_p=0.0, behavior_logp=True)
    assert torch.equal(choose(logits, uniform(keys, torch.tensor([4])), off).token, plain)
