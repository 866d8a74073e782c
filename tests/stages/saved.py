"""Small models and files on disk, as stages read them."""

import json
from pathlib import Path
from typing import Any

import transformers as hf

import tiny
from engine.toy_rl import EOS, LETTERS, WORDS, tokenizer
from heedful.data import chat
from heedful.nn import hub


def models(folder: Path) -> tuple[Path, Path]:
    """A policy and a reward model over nine letters."""
    made = []
    for number, name in enumerate(("policy", "reward")):
        config = hf.LlamaConfig(**{**tiny._COMMON, "vocab_size": len(WORDS), "eos_token_id": EOS})
        words = tokenizer()
        chat.ensure_chat_template(words)
        hub.save_model(folder / name, tiny.model(config, scorer=name == "reward", seed=number), words)
        made.append(folder / name)
    return made[0], made[1]


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def prompts(folder: Path) -> Path:
    """Eighteen prompts."""
    asked = [" ".join((a, b)) for a in LETTERS for b in "ab"]
    rows = [{"prompt": [{"role": "user", "content": text}]} for text in asked]
    return lines(folder / "prompts.jsonl", rows)


def preferences(folder: Path) -> Path:
    """An answer with the letter a is preferred to one with the letter i, for each of eighteen prompts."""
    rows = [{"prompt": f"{a} {b}", "chosen": f"a {a} b", "rejected": f"i {b}"} for a in LETTERS for b in "ab"]
    return lines(folder / "preferences.jsonl", rows)


def weights(folder: Path) -> bytes:
    """The bytes of a model's weights."""
    return (folder / "model.safetensors").read_bytes()
