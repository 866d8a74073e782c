"""Answers that keep to a grammar: llguidance says at each token which tokens may follow.

llguidance runs on a CPU in about 50 microseconds a token, knows byte-level vocabularies, and takes Lark grammars and
JSON schemas. It only masks logits: what is drawn, and how, stays the sampler's.
"""

import json
from typing import Any

import torch
from torch import Tensor

from heedful.errors import UserError


class Constraint:
    """The grammar's place in every answer that is being written, by slot and sample."""

    def __init__(self, tokenizer: Any, grammar: str, ends: Tensor, vocabulary: int) -> None:
        try:
            import llguidance
            import llguidance.hf
        except ImportError:
            raise UserError(
                "constrained sampling needs llguidance: pip install heedful[structured]"
            ) from None
        self.library = llguidance
        self.tokenizer = llguidance.hf.from_tokenizer(
            tokenizer, n_vocab=vocabulary, eos_token=[int(e) for e in ends.tolist()]
        )
        as_json = grammar.lstrip().startswith("{")
        if as_json:  # as compact as JSON can be: a small model could go on with white space for ever
            grammar = json.dumps({**json.loads(grammar), "x-guidance": {"whitespace_flexible": False}})
        self.grammar = llguidance.grammar_from("json_schema" if as_json else "lark", grammar)
        if fault := llguidance.LLMatcher.validate_grammar(self.grammar, self.tokenizer):
            raise UserError(f"the grammar cannot be used: {' '.join(fault.split())[:200]}")
        self.vocabulary = vocabulary
        self.matchers: dict[tuple[int, int], Any] = {}

    def start(self, slots: Tensor) -> None:
        """Forget the answers that were written in `slots`."""
        gone = set(slots.tolist())
        self.matchers = {where: m for where, m in self.matchers.items() if where[0] not in gone}

    def allowed(self, slot: Tensor, sample: Tensor) -> Tensor:
        """Which tokens may come next in each answer: [B, V] of bool."""
        from llguidance import torch as masks

        bits = masks.allocate_token_bitmask(len(slot), self.vocabulary)
        for row, where in enumerate(zip(slot.tolist(), sample.tolist(), strict=True)):
            masks.fill_next_token_bitmask(self._matcher(where), bits, row)
        flags: Tensor = (bits[:, :, None] >> torch.arange(32, dtype=torch.int32) & 1).bool().flatten(1)
        return flags[:, : self.vocabulary]

    def write(self, slot: Tensor, sample: Tensor, token: Tensor) -> None:
        """Take in a token an answer [B]."""
        for s, j, t in zip(slot.tolist(), sample.tolist(), token.tolist(), strict=True):
            self._matcher((s, j)).consume_token(t)

    def _matcher(self, where: tuple[int, int]) -> Any:
        if where not in self.matchers:
            self.matchers[where] = self.library.LLMatcher(self.tokenizer, self.grammar)
        return self.matchers[where]
