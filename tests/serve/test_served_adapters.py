"""LoRA adapters beside their base model, chosen by name: each answers as it would merged, and the base as without."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from heedful.nn import hub
from serve import live

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers for an old name
peft = pytest.importorskip("peft", reason="adapters need pip install 'heedful[lora]'")


def adapter(folder: Path, base: str, seed: int) -> str:
    torch.manual_seed(seed)
    config = peft.LoraConfig(r=4, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    wrapped = peft.get_peft_model(hub.load_model(base), config)
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    wrapped.save_pretrained(str(folder))
    return str(folder)


def merged(base: str, folder: str) -> Any:
    return peft.PeftModel.from_pretrained(hub.load_model(base), folder).merge_and_unload()


def greedy(model: Any, ids: list[int], n: int, stop: tuple[int, ...]) -> list[int]:
    out = model.generate(
        torch.tensor([ids]), do_sample=False, max_new_tokens=n, eos_token_id=list(stop), pad_token_id=0
    )
    return out[0, len(ids) :].tolist()


def test_each_adapter_answers_as_if_it_were_merged(models: dict[str, str], tmp_path: Path) -> None:
    folders = {
        name: adapter(tmp_path / name, models["tiny"], seed) for seed, name in enumerate(("one", "v1.two"))
    }
    ids = live.TOKENIZER.encode("the cat sat")
    with live.serving(model=models["tiny"], adapters=folders) as server:
        listed = {m["id"]: (m["kind"], m["parent"]) for m in server.get("v1/models").json()["data"]}
        assert listed == {
            "tiny": ("language", None),
            "one": ("adapter", "tiny"),
            "v1.two": ("adapter", "tiny"),
        }
        found = {}
        for name in ("tiny", "one", "v1.two", "tiny"):
            body = {
                "model": name,
                "prompt": ids,
                "max_tokens": 12,
                "temperature": 0,
                "return_token_ids": True,
            }
            found[name] = server.post("completions", body).json()["choices"][0]["token_ids"]
        stop = server.engine.models["tiny"].stop
    assert found["tiny"] == greedy(hub.load_model(models["tiny"]), ids, 12, stop)
    for name, folder in folders.items():
        assert found[name] == greedy(merged(models["tiny"], folder), ids, 12, stop)
    assert len({tuple(ids) for ids in found.values()}) == 3, (
        "the adapters change nothing, so nothing was tested"
    )


def test_a_model_whose_folder_is_replaced_is_loaded_again(models: dict[str, str], tmp_path: Path) -> None:
    place = tmp_path / "policy"
    shutil.copytree(models["tiny"], place)
    body = {"model": "policy", "prompt": "the cat", "max_tokens": 8, "seed": 1}
    with live.serving(model=str(place), watch=True) as server:
        first = server.post("completions", body).json()["choices"][0]["text"]
        shutil.copyfile(Path(models["other"]) / "model.safetensors", place / "new")
        (place / "new").replace(place / "model.safetensors")
        before, limit = server.engine.models["policy"].fingerprint, time.monotonic() + 60
        while server.get("v1/models/policy").json()["fingerprint"] == before:
            assert time.monotonic() < limit
            time.sleep(0.05)
        second = server.post("completions", body).json()["choices"][0]["text"]
    with live.serving(model=models["other"], name="policy") as server:
        assert server.post("completions", body).json()["choices"][0]["text"] == second
    assert first != second
