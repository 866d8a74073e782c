"""A reward model that is also a writer: how it would have put the answer itself counts in its score."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from heedful.nn import adapters

HEAD_FILE = "reward_head.safetensors"


class LikelihoodScorer(nn.Module):
    """score(x, y) = mean over the tokens of y of  v(h_t) + a log p(y_t | x, y_<t).

    `writer` is a causal language model, h_t its last hidden state at token t, v a linear head, a a weight that
    is learnt. A head on the last token must see by itself whether an answer says what the prompt says; in a
    small model no layer is left for that, while p(y_t | ...) has compared already. The second term is the
    length-normalised implicit reward of Meng et al. 2024 (SimPO, eq. 3), the first corrects what is merely likely.
    """

    def __init__(self, writer: Any, *, seed: int = 0) -> None:
        super().__init__()
        self.writer = writer
        width = writer.config.get_text_config().hidden_size
        self.score = nn.Linear(width, 1, bias=False, dtype=writer.dtype)
        self.likelihood = nn.Parameter(torch.ones((), dtype=writer.dtype))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.score.weight.copy_(torch.randn(1, width, generator=generator) * (width + 1) ** -0.5)

    @property
    def config(self) -> Any:
        """The writer's configuration; it keeps `score_mean` too."""
        return self.writer.config

    @property
    def head(self) -> list[Tensor]:
        """What a gain on the score has to multiply."""
        return [self.score.weight, self.likelihood]

    def forward(self, hidden: Tensor, logp: Tensor) -> Tensor:
        """What each token adds [N], in fp32: from its own last hidden state [N, D] and its log-prob [N]."""
        value = nn.functional.linear(hidden.float(), self.score.weight.float())[:, 0]
        return value + self.likelihood.float() * logp

    def save_pretrained(self, folder: str | Path, **kwargs: Any) -> None:
        """Write the writer, or its adapter, and the head beside it."""
        adapters.save_pretrained(folder, self.writer)
        head = {"score": self.score.weight.detach(), "likelihood": self.likelihood.detach()}
        save_file(head, Path(folder) / HEAD_FILE)

    def load_head(self, folder: str | Path) -> None:
        """Put back the head that `save_pretrained` wrote; KeyError or RuntimeError if it is another's."""
        found = load_file(Path(folder) / HEAD_FILE)
        with torch.no_grad():
            self.score.weight.copy_(found["score"])
            self.likelihood.copy_(found["likelihood"])
