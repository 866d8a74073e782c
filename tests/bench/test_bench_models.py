"""Laws of the benchmark's models, data and arithmetic."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from heedful.bench import data, models
from heedful.bench.peers.job import Job, words
from heedful.bench.peers.loop import Loop, generated
from heedful.data import chat
from heedful.engine.sample import Request, Sampling, sample
from heedful.engine.score import use_packed_attention
from heedful.nn import hub
from heedful.types import Message

TINY = models.SHAPES["T"]


def test_texts_and_ids_are_the_same_thing(tmp_path: Path) -> None:
    models.new_tokenizer(TINY.vocabulary).save_pretrained(tmp_path)
    tokenizer = hub.load_tokenizer(tmp_path)
    ids = data.examples(1, TINY.vocabulary, 0)[0]["prompt"]
    assert chat.render_prompt(tokenizer, [Message("user", words(ids))]) == tuple(ids)
    assert chat.answer_ids(tokenizer, words(ids)) == (*ids, models.EOS)
    assert tokenizer(words(ids))["input_ids"] == ids
    assert tokenizer.decode(ids) == words(ids)


def test_examples_do_not_depend_on_how_many_follow() -> None:
    assert data.examples(3, 512, 7) == data.examples(9, 512, 7)[:3]
    assert data.examples(3, 512, 7) != data.examples(3, 512, 8)


def test_lengths_lie_in_their_bounds_and_have_a_heavy_tail() -> None:
    found = data.examples(200, 512, 0)
    prompts = [len(e["prompt"]) for e in found]
    answers = sorted(len(a) for e in found for a in e["answers"])
    assert data.PROMPT[0] <= min(prompts) <= max(prompts) <= data.PROMPT[1]
    assert (answers[0], answers[-1]) == data.ANSWER
    assert answers[int(0.95 * len(answers))] > 3 * answers[len(answers) // 2]
    assert all(a[-1] == models.EOS and models.EOS not in a[:-1] for e in found for a in e["answers"])


def test_sampled_answers_end_at_many_lengths() -> None:
    model = models.new_model(TINY, 0).eval()
    use_packed_attention(model)
    prompts = [tuple(e["prompt"]) for e in data.examples(12, TINY.vocabulary, 0)]
    requests = [Request(p, tuple(range(8 * n, 8 * n + 8))) for n, p in enumerate(prompts)]
    found = sample(model, requests, Sampling(250), stop=[models.EOS])
    lengths = sorted(len(a.ids) for row in found for a in row)
    assert 40 < sum(lengths) / len(lengths) < 80
    assert lengths[len(lengths) // 10] < 10
    assert lengths[-len(lengths) // 20] > 150


@pytest.mark.parametrize("name", models.SHAPES)
def test_shapes_count_their_parameters(name: str) -> None:
    shape = models.SHAPES[name]
    with torch.device("meta"):
        config = models.config(shape)
        model = models.AutoModelForCausalLM.from_config(config)
    layers = sum(p.numel() for p in model.model.layers.parameters() if p.ndim == 2)
    assert shape.layer_parameters == layers
    assert shape.head_parameters == model.lm_head.weight.numel()


def test_needed_operations_are_those_that_torch_counts() -> None:
    """On a sequence alone everything is needed but the head's rows of the prompt and attention to what follows."""
    model = models.new_model(TINY, 0)
    model.set_attn_implementation("eager")
    prompt, answer = list(range(3, 43)), list(range(50, 110))
    n = len(prompt) + len(answer)
    with FlopCounterMode(display=False) as counted:
        model(torch.tensor([prompt + answer]))
    unneeded = 2 * TINY.head_parameters * len(prompt) + 4 * TINY.layers * TINY.hidden * n * (n - 1) / 2
    example = {"prompt": prompt, "answers": [answer]}
    assert data.needed_flops(TINY, [example], "sft") == 3 * (counted.get_total_flops() - unneeded)


def test_a_prompt_is_needed_once_for_all_its_answers() -> None:
    found = data.examples(2, TINY.vocabulary, 0)
    together = data.needed_flops(TINY, found, "reward")
    assert together == sum(data.needed_flops(TINY, [e], "reward") for e in found)
    alone = sum(
        data.needed_flops(TINY, [{**e, "answers": [a]}], "reward") for e in found for a in e["answers"]
    )
    prompts = sum(data.needed_flops(TINY, [{**e, "answers": []}], "reward") for e in found)
    assert together == pytest.approx(alone - 5 * prompts, rel=1e-12)


def test_the_hand_written_loop_computes_what_the_model_does(tmp_path: Path) -> None:
    model = models.new_model(TINY, 0).eval()
    model.save_pretrained(tmp_path)
    loop = Loop(str(tmp_path), torch.float32)
    found: list[torch.Tensor] = []
    logits = loop.logits
    loop.logits = lambda *args: found.append(logits(*args)) or found[-1]  # type: ignore[method-assign]
    prompts = [[5, 6, 7, 8, 9, 10], [11, 12], [13, 14, 15, 16]]
    job = Job("sampling", str(tmp_path), "", "fp32", 3, max_completion_length=6)
    written: list[torch.Tensor] = []
    search = torch.searchsorted

    def remembered(*args: torch.Tensor) -> torch.Tensor:
        written.append(search(*args).clamp_max(TINY.vocabulary - 1))
        return written[-1]

    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(torch, "searchsorted", remembered)
        assert 3 <= generated(loop, prompts, job) <= 18
    tokens = torch.cat(written, 1)
    for row, prompt in enumerate(prompts):
        whole = torch.tensor([prompt + tokens[row].tolist()])
        with torch.no_grad():
            expected = model(whole).logits[0, len(prompt) - 1 :]
        for step, z in enumerate(found):
            torch.testing.assert_close(z[row], expected[step], rtol=1e-4, atol=1e-4)
