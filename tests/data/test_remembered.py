"""A tokenizer with a memory gives the same tokens as without, whatever lies in the cache."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heedful.data import cache, chat, remembered
from heedful.engine.dialogues import conversations, documents
from heedful.engine.tokenizer import train_bpe
from heedful.types import Conversation, Message

TEXTS = [
    "Who has the lamp?",
    "Mira has it.",
    "",
    "灯在谁手里？",
    "<|end|> and <|assistant|> are text here",
    "Mira has it.",
]
DIALOGUES = [
    Conversation((Message("system", a), Message("user", b), Message("assistant", c)))
    for a in TEXTS
    for b in TEXTS
    for c in TEXTS
]


@pytest.fixture
def tokenizer() -> Any:
    made = train_bpe([*TEXTS, "system user assistant end"], 320)
    chat.ensure_chat_template(made)
    return made


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEEDFUL_CACHE", str(tmp_path))
    monkeypatch.setattr(remembered, "LEAST", 1)
    return tmp_path / "tokens"


class Counting:
    """Counts what the tokenizer itself is asked."""

    def __init__(self, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        kind, encode, call = type(tokenizer), type(tokenizer).encode, type(tokenizer).__call__
        monkeypatch.setattr(kind, "encode", lambda *a, **k: self.count(1) or encode(*a, **k))
        monkeypatch.setattr(kind, "__call__", lambda s, t, **k: self.count(len(t)) or call(s, t, **k))

    def count(self, n: int) -> None:
        self.asked += n


def rows(tokenizer: Any) -> list[tuple[list[int], list[bool]]]:
    trees = [*conversations(tokenizer, DIALOGUES, 200)[0], *documents(tokenizer, TEXTS, 16)]
    return [(t.prompt.ids.tolist(), t.prompt.trained.tolist()) for t in trees]


def read(tokenizer: Any, *contents: str) -> list[tuple[list[int], list[bool]]]:
    with remembered.remembered(tokenizer, contents) as reader:
        return rows(reader)


def test_the_second_time_nothing_is_encoded(
    tokenizer: Any, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rows(tokenizer)
    assert read(tokenizer, "a") == expected
    counting = Counting(tokenizer, monkeypatch)
    assert read(tokenizer, "a") == expected
    assert counting.asked <= 1  # whether BOS is put in front
    assert len(list(kept.iterdir())) == 1


def test_another_template_or_more_texts_ask_for_what_is_new(tokenizer: Any, kept: Path) -> None:
    read(tokenizer, "a")
    tokenizer.chat_template = tokenizer.chat_template.replace("'<|", "'<<|")
    assert read(tokenizer, "a") == rows(tokenizer)
    assert len(list(kept.iterdir())) == 1


def test_another_tokenizer_or_file_has_a_memory_of_its_own(tokenizer: Any, kept: Path) -> None:
    read(tokenizer, "a")
    read(tokenizer, "b")
    other = train_bpe(TEXTS, 300)
    chat.ensure_chat_template(other)
    assert read(other, "a") == rows(other)
    tokenizer.add_tokens(["lamp"])
    assert read(tokenizer, "a") == rows(tokenizer)
    assert len(list(kept.iterdir())) == 4


def test_tokens_added_while_it_is_used_are_not_kept(tokenizer: Any, kept: Path) -> None:
    with remembered.remembered(tokenizer, ["a"]) as reader:
        tokenizer.add_tokens(["lamp"])
        reader.encode("Who has the lamp?")
    assert not kept.exists()


def altered(arrays: cache.Arrays, **changed: Any) -> dict[str, Any]:
    return {**arrays, **changed}


@pytest.mark.parametrize("fault", ["empty", "cut", "flipped", "alien ids", "ends", "keys", "names", "types"])
def test_a_damaged_or_hostile_file_is_made_anew(tokenizer: Any, kept: Path, fault: str) -> None:
    expected = read(tokenizer, "a")
    [path] = kept.iterdir()
    whole, arrays = path.read_bytes(), cache.read(path)
    assert arrays is not None
    if fault in ("empty", "cut", "flipped"):
        bad = {"empty": b"", "cut": whole[:-3], "flipped": whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]}
        path.write_bytes(bad[fault])
    else:
        bad_arrays = {
            "alien ids": altered(arrays, ids=arrays["ids"] + 10_000),
            "ends": altered(arrays, ends=arrays["ends"][::-1].copy()),
            "keys": altered(arrays, keys=arrays["keys"][:-1].copy()),
            "names": {"else": arrays["ids"]},
            "types": altered(arrays, ids=arrays["ids"].astype(np.float32)),
        }
        cache.write(path, bad_arrays[fault])
    assert read(tokenizer, "a") == expected
    assert path.read_bytes() == whole


def test_without_a_cache_it_is_the_tokenizer(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEEDFUL_CACHE", "")
    with remembered.remembered(tokenizer, ["a"]) as reader:
        assert reader is tokenizer
