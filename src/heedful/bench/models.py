"""Models with random weights and a tokenizer of numbered words, written as folders that every library opens."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from heedful.nn import hub

PAD, BOS, EOS = 0, 1, 2
FIRST_WORD = 3
CONTEXT = 512
# Words mean nothing here: the answers' contents go between the words of the template, and whitespace is dropped.
TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"


@dataclass(frozen=True)
class Shape:
    """The shape of a Llama-architecture model with untied embeddings."""

    hidden: int
    layers: int
    heads: int
    mlp: int
    vocabulary: int

    @property
    def layer_parameters(self) -> int:
        """Parameters of all layers' matrices."""
        return self.layers * (4 * self.hidden**2 + 3 * self.hidden * self.mlp)

    @property
    def head_parameters(self) -> int:
        """Parameters of the language-model head."""
        return self.hidden * self.vocabulary


SHAPES = {
    "T": Shape(hidden=64, layers=2, heads=4, mlp=128, vocabulary=512),
    "A": Shape(hidden=288, layers=6, heads=6, mlp=768, vocabulary=4096),
    "B": Shape(hidden=512, layers=8, heads=8, mlp=1376, vocabulary=16384),
}
"""A has 8.3M parameters, B 42M; T is for growth and tests."""


def config(shape: Shape) -> LlamaConfig:
    """The configuration of a model of this shape."""
    return LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        intermediate_size=shape.mlp,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )


def new_model(shape: Shape, seed: int, mean_length: float = 60.0) -> Any:
    """A model with random weights that ends an answer after about `mean_length` sampled tokens."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config(shape), dtype=torch.float32)
    let_answers_end(model, shape, 1 / mean_length)
    return model


def let_answers_end(model: Any, shape: Shape, hazard: float) -> None:
    """Make EOS about `hazard` likely after every token, so that answers have a heavy tail of lengths.

    Every embedding shares one large coordinate, which every hidden state then carries, and the head's row of EOS
    reads that coordinate alone; how strongly is found by halving.
    """
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(FIRST_WORD, shape.vocabulary, (16, 64), generator=generator)
    with torch.no_grad():
        model.get_input_embeddings().weight[:, 0] = 0.2
        hidden = model.base_model(ids).last_hidden_state.flatten(0, 1)
        row = model.get_output_embeddings().weight
        row[EOS] = 0.0
        row[PAD] = 0.0
        others = (hidden @ row.T).logsumexp(-1)
        low, high = -50.0, 50.0
        for _ in range(60):
            middle = (low + high) / 2
            likely = torch.sigmoid(middle * hidden[:, 0] - others).mean()
            low, high = (low, middle) if likely > hazard else (middle, high)
        row[EOS, 0] = (low + high) / 2


def new_tokenizer(vocabulary: int) -> Any:
    """A tokenizer whose token n is the word "tn", so that texts and ids are the same thing."""
    words = {"<pad>": PAD, "<bos>": BOS, "<eos>": EOS} | {f"t{n}": n for n in range(FIRST_WORD, vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        chat_template=TEMPLATE,
        model_max_length=CONTEXT,
    )


def write(folder: Path, shape: Shape, seed: int) -> None:
    """Write the policy, another one as its reference, and a reward model into `folder`."""
    tokenizer = new_tokenizer(shape.vocabulary)
    model = new_model(shape, seed)
    hub.save_model(folder / "model", model, tokenizer)
    hub.save_model(folder / "reward", hub.scorer_from(model, seed=seed), tokenizer)
    hub.save_model(folder / "reference", new_model(shape, seed + 1), tokenizer)
