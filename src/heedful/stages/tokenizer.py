"""Text -> a byte-level BPE tokenizer with the chat's special tokens."""

from pathlib import Path
from typing import Any

from pydantic import Field
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from heedful.data import atomic
from heedful.data.chat import ensure_chat_template
from heedful.data.formats import read_texts
from heedful.engine.stage import Stage, StageConfig
from heedful.errors import UserError

SPECIAL = ("<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")


class TokenizerConfig(StageConfig):
    """`data` is a file of texts; `vocab_size` counts bytes and special tokens too."""

    data: Path
    vocab_size: int = Field(1024, ge=300)


def main(config: TokenizerConfig) -> dict[str, Any]:
    """Train the tokenizer and write it to `output`/tokenizer."""
    stage = Stage("tokenizer", config, {"data": config.data})
    if (done := stage.finished()) is not None:
        return done
    texts = read_texts(config.data)
    tokenizer = train_bpe(texts, config.vocab_size)
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


def train_bpe(texts: list[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE (Sennrich et al. 2016; GPT-2's bytes), with `<|end|>` as EOS and a chat template."""
    if not any(texts):
        raise UserError("the tokenizer has no text to learn from: the data file holds only empty texts")
    model = Tokenizer(BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator(texts, trainer)
    pad, begin, end, *chat = SPECIAL
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=model,
        pad_token=pad,
        bos_token=begin,
        eos_token=end,
        additional_special_tokens=chat,
        clean_up_tokenization_spaces=False,
    )
    ensure_chat_template(tokenizer)
    return tokenizer
