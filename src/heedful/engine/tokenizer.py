"""Training a byte-level BPE tokenizer."""

import re
from collections.abc import Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from heedful.data.chat import ensure_chat_template
from heedful.errors import UserError

SPECIAL = ("<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")


def train_bpe(texts: Sequence[str], vocab_size: int, *, words: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Byte-level BPE (Sennrich et al. 2016; GPT-2's bytes), with `<|end|>` as EOS and a chat template.

    `words` are cut out before merges are learnt: where a script has no spaces, names then stay whole.
    """
    if not any(texts):
        raise UserError("the tokenizer has no text to learn from: the data file holds only empty texts")
    model = Tokenizer(BPE())
    steps: list[Any] = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    if words:
        longest_first = sorted(set(words), key=lambda word: (-len(word), word))
        steps.insert(0, pre_tokenizers.Split(Regex("|".join(map(re.escape, longest_first))), "isolated"))
    model.pre_tokenizer = pre_tokenizers.Sequence(steps)
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
