"""Adapters: nothing changes before the first step, packed rows stay what they are, peft reads what is written."""

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from engine.toy_rl import WORDS, tokenizer
from heedful.data import chat
from heedful.engine import tuning
from heedful.engine.batch import collate, microbatches
from heedful.engine.fit import fit
from heedful.engine.optim import Optimizer
from heedful.engine.reward_model import RewardModel
from heedful.engine.score import columns, use_packed_attention
from heedful.engine.train import TrainingConfig
from heedful.errors import UserError
from heedful.losses.supervised import next_token
from heedful.nn import adapters, hub
from heedful.stages import reward
from heedful.types import Message, Prompt
from stages import saved as stage_files

pytest.importorskip("peft", reason="adapters need peft: pip install 'heedful[lora]'")

SETTINGS: Any = SimpleNamespace(lora_r=4, lora_alpha=8.0, lora_target_modules="all-linear")


def saved(folder: Path) -> Path:
    config = tiny.configs()["llama"].__class__(**{**tiny._COMMON, "vocab_size": len(WORDS)})
    words = tokenizer()
    chat.ensure_chat_template(words)
    hub.save_model(folder / "base", tiny.model(config), words)
    return folder / "base"


def trees() -> list[Any]:
    found = tiny.trees()
    for tree in found:
        for node in (tree.prompt, *tree.branches):
            np.mod(node.ids, len(WORDS), out=node.ids)
    return found


def logp(model: Any) -> torch.Tensor:
    use_packed_attention(model)
    with torch.no_grad():
        return columns(model, collate(trees()), ["logp"])["logp"]


def trained(base: Path) -> Any:
    """A model with an adapter that has been trained a little."""
    model = adapters.adapt(hub.load_model(base), SETTINGS, base=base)
    batch = microbatches(trees(), 1000)
    list(fit(model, [batch] * 3, next_token, Optimizer(model, learning_rate=0.05)))
    return model


def test_before_the_first_step_nothing_changes_and_after_it_the_base_is_still_there(tmp_path: Path) -> None:
    base = saved(tmp_path)
    before = logp(hub.load_model(base))
    torch.testing.assert_close(logp(adapters.adapt(hub.load_model(base), SETTINGS, base=base)), before)
    model = trained(base)
    after = logp(model)
    assert (after - before).abs().max() > 0.1
    with adapters.switched_off(model):
        torch.testing.assert_close(logp(model), before)
    torch.testing.assert_close(logp(model), after)
    names = [n for n, p in model.named_parameters() if p.requires_grad]
    assert names
    assert all("lora_" in n for n in names)


def test_packed_rows_with_an_adapter_equal_each_sequence_alone(tmp_path: Path) -> None:
    model = trained(saved(tmp_path))
    found = logp(model)
    model.set_attn_implementation("eager")
    expected = []
    for tree in trees():
        for node in tree.branches:
            ids = torch.from_numpy(np.concatenate([tree.prompt.ids, node.ids]))
            all_logp = (
                model(ids[None], use_cache=False).logits[0].log_softmax(-1)[len(tree.prompt.ids) - 1 : -1]
            )
            expected.append(all_logp.gather(-1, torch.from_numpy(node.ids)[:, None])[:, 0].detach())
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-5, rtol=1e-5)


def test_peft_and_transformers_read_what_is_written_and_so_do_we(tmp_path: Path) -> None:
    import peft
    import transformers as hf

    model = trained(saved(tmp_path))
    after = logp(model)
    hub.save_model(tmp_path / "adapter", model, tokenizer())
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    merged = hub.load_model(tmp_path / "adapter")
    assert not adapters.has(merged)
    assert all(p.requires_grad for p in merged.parameters())
    torch.testing.assert_close(logp(merged), after, atol=1e-5, rtol=1e-5)
    beside = hub.load_model(tmp_path / "adapter", merge=False)
    torch.testing.assert_close(logp(beside), after)
    base = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        theirs = peft.PeftModel.from_pretrained(base, tmp_path / "adapter").merge_and_unload()
    torch.testing.assert_close(logp(theirs), after, atol=1e-5, rtol=1e-5)


def test_a_reward_model_with_an_adapter_scores_the_same_after_it_was_written(tmp_path: Path) -> None:
    base = saved(tmp_path)
    scorer = adapters.adapt(
        hub.scorer_from(hub.load_model(base), seed=0), SETTINGS, base=base, whole=["score"]
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in (p for p in scorer.parameters() if p.requires_grad):
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    scorer.config.score_mean = 0.5
    use_packed_attention(scorer)
    hub.save_model(tmp_path / "reward", scorer, tokenizer())
    again = hub.load_scorer(tmp_path / "reward")
    use_packed_attention(again)
    with torch.no_grad():
        found, expected = (columns(m, collate(trees()), ["score"])["score"] for m in (again, scorer))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


class Config(tuning.LoraConfig, TrainingConfig):
    model: str


def test_training_goes_on_from_an_adapter_over_the_same_base(tmp_path: Path) -> None:
    base = saved(tmp_path)
    hub.save_model(tmp_path / "adapter", trained(base), tokenizer())
    config = Config(output=tmp_path / "out", model=str(tmp_path / "adapter"), lora_r=4)
    model = tuning.load_start(config)
    hub.save_model(tmp_path / "second", model, tokenizer())
    assert tuning.base_folder(tmp_path / "second") == str(base.resolve())
    assert hub.same_vocabulary(tmp_path / "second", base)


def test_faults_are_sentences(tmp_path: Path) -> None:
    base = saved(tmp_path)
    wrong: Any = SimpleNamespace(**{**vars(SETTINGS), "lora_target_modules": ("moon",)})
    with pytest.raises(UserError, match=r"lora_target_modules=\('moon',\) fits no layer"):
        adapters.adapt(hub.load_model(base), wrong, base=base)
    hub.save_model(tmp_path / "adapter", trained(base), tokenizer())
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no adapter_model\.safetensors"):
        hub.load_model(tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="does not name the model"):
        hub.load_model(tmp_path / "adapter")
    with pytest.raises(ValueError, match="no dropout"):
        Config(output=tmp_path, model="x", lora_dropout=0.1)


@pytest.mark.parametrize("head", ["last", "likelihood"])
def test_the_reward_stage_trains_an_adapter_and_its_head(tmp_path: Path, head: str) -> None:
    base = saved(tmp_path)
    data = stage_files.preferences(tmp_path)
    given = {"model": str(base), "data": data, "head": head, "tokens_per_step": 100, "learning_rate": 1e-2}
    config = reward.RewardConfig(output=tmp_path / "out", lora_r=4, epochs=3, **given)  # type: ignore[arg-type]
    found = reward.main(config)
    assert found["heldout_accuracy"]["value"] == 1
    assert (tmp_path / "out" / "model" / "adapter_model.safetensors").is_file()
    model = RewardModel.load(tmp_path / "out" / "model")
    prompt = Prompt("p", (Message("user", "c a"),))
    (row,) = model.scores([prompt], [["a c b", "i a"]])
    assert row[0] > row[1] + 0.5
    assert abs(row[0] + row[1]) < 2  # standardised: the mean lies between them
