"""A reward model in training that stays a writer: one body, a scalar head and the language-model head."""

from typing import Any

from torch import nn


class ScorerWithWriter(nn.Module):
    """`writer` is a causal language model, `scorer` a sequence classifier with one label, which takes its body.

    What is kept afterwards is `scorer`, an ordinary reward model.
    """

    def __init__(self, writer: Any, scorer: Any) -> None:
        super().__init__()
        self.writer, self.scorer = writer, scorer
        setattr(scorer, scorer.base_model_prefix, writer.base_model)

    @property
    def config(self) -> Any:
        """The scorer's configuration, which keeps `score_mean`."""
        return self.scorer.config
