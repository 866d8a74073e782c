"""Text -> a byte-level BPE tokenizer with the chat's special tokens."""

from pathlib import Path
from typing import Any

from pydantic import Field

from heedful.data import atomic
from heedful.data.formats import read_texts
from heedful.engine.stage import Stage, StageConfig
from heedful.engine.tokenizer import train_bpe


class TokenizerConfig(StageConfig):
    """`data` is a file of texts, `words` one of words to keep whole; `vocab_size` counts bytes too."""

    data: Path
    words: Path | None = None
    vocab_size: int = Field(1024, ge=300)


def main(config: TokenizerConfig) -> dict[str, Any]:
    """Train the tokenizer and write it to `output`/tokenizer."""
    stage = Stage("tokenizer", config, {"data": config.data, "words": config.words})
    if (done := stage.finished()) is not None:
        return done
    texts = read_texts(config.data)
    words = [w for line in read_texts(config.words) for w in line.split()] if config.words else []
    tokenizer = train_bpe(texts, config.vocab_size, words=words)
    stage.begin()
    with atomic.new_folder(stage.folder / "tokenizer") as folder:
        tokenizer.save_pretrained(folder)
    sample = texts[:1000]
    count = sum(len(ids) for ids in tokenizer(sample, add_special_tokens=False)["input_ids"])
    return stage.finish(
        vocabulary=len(tokenizer), characters_per_token=round(sum(map(len, sample)) / max(1, count), 3)
    )


def line(result: dict[str, Any]) -> str:
    """The result in one line."""
    return f"{result['vocabulary']} tokens, {result['characters_per_token']} characters a token"
