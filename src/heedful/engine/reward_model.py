"""Scores of texts by a reward model. The boundary is text, so its tokenizer may differ from the policy's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from heedful.data import chat
from heedful.engine.batch import Tree, answer_node, prompt_node
from heedful.engine.score import sequence_columns, use_packed_attention
from heedful.nn import hub
from heedful.types import Prompt


class RewardModel:
    """A reward model with its tokenizer: a `Scorer`."""

    metrics: Mapping[str, float] = {}

    def __init__(self, model: Any, tokenizer: Any, *, token_budget: int = 16384) -> None:
        use_packed_attention(model)
        self.model, self.tokenizer, self.token_budget = model.eval(), tokenizer, token_budget

    @classmethod
    def load(cls, source: str | Path) -> "RewardModel":
        tokenizer = hub.load_tokenizer(source)
        chat.ensure_chat_template(tokenizer)
        return cls(hub.load_scorer(source), tokenizer)

    @property
    def gain(self) -> float:
        """What the learnt scores were multiplied by: sigmoid(margin / gain) is the probability that was learnt."""
        return float(getattr(self.model.config, "score_gain", 1.0))

    def scores(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]]) -> list[list[float]]:
        """Scores [prompt][answer]; a prompt is computed once for all its answers."""
        trees = []
        for prompt, texts in zip(prompts, answers, strict=True):
            root = prompt_node(chat.render_prompt(self.tokenizer, prompt.messages))
            trees.append(Tree(root, tuple(answer_node(chat.answer_ids(self.tokenizer, t)) for t in texts)))
        longest = max((t.size for t in trees), default=1)
        found = sequence_columns(self.model, trees, "score", token_budget=max(self.token_budget, longest))
        return [[float(s) for s in row] for row in found]
