"""Answers that keep to a grammar, by llguidance, an optional extra: `pip install heedful[constrained]`.

It says at each token which tokens may follow, in about 50 microseconds on a CPU, knows byte-level vocabularies, and
takes JSON schemas and Lark grammars. It only masks logits: what is drawn, and how, stays the sampler's.
"""

import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heedful.errors import UserError


class Constraint:
    """What of a grammar has been written so far in one answer."""

    def __init__(self, matcher: Any, stop: tuple[int, ...]) -> None:
        self._matcher, self._stop = matcher, stop

    @property
    def failed(self) -> str:
        """Why the schema could not be followed to its end ("" if it could): limits of its size, mostly."""
        return _first_line(self._matcher.get_error()) if self._matcher.is_error() else ""

    def allowed(self, vocabulary: int) -> Tensor:
        """Which tokens may come next: bool [vocabulary]; behind the end, and where it failed, only the end."""
        if self._matcher.is_stopped():
            found = torch.zeros(vocabulary, dtype=torch.bool)
            found[list(self._stop)] = True
            return found
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
        mask = np.zeros(vocabulary, dtype=bool)
        mask[: min(len(bits), vocabulary)] = bits[:vocabulary]
        return torch.from_numpy(mask)

    def take(self, token: int) -> None:
        """Go on behind a token that was allowed."""
        self._matcher.consume_token(token)


class Constraints:
    """Grammars for one tokenizer; `stop` are the tokens that end an answer."""

    def __init__(self, tokenizer: Any, stop: tuple[int, ...]) -> None:
        self._library, self._stop = _llguidance(), stop
        self._tokenizer = import_module("llguidance.hf").from_tokenizer(tokenizer, eos_token=list(stop))

    def json(self, schema: Mapping[str, Any]) -> Constraint:
        """A fresh answer that must be JSON of this schema, without optional spaces; UserError for a bad schema."""
        kind = self._library.LLMatcher
        compact = {"item_separator": ",", "key_separator": ":", "whitespace_flexible": False}
        try:
            grammar = kind.grammar_from_json_schema(json.dumps(schema), overrides=compact)
        except (ValueError, RecursionError) as error:
            raise UserError(f"the JSON schema cannot be used: {_first_line(error)}") from error
        return self._fresh(grammar, "JSON schema")

    def lark(self, grammar: str) -> Constraint:
        """A fresh answer that must keep to a grammar in Lark's notation; UserError for one that cannot be used."""
        return self._fresh(self._library.LLMatcher.grammar_from_lark(grammar), "grammar")

    def of(self, grammar: str) -> Constraint:
        """A fresh answer that must keep to a JSON schema, as text, or a Lark grammar."""
        return self.json(json.loads(grammar)) if grammar.lstrip().startswith("{") else self.lark(grammar)

    def _fresh(self, grammar: str, kind: str) -> Constraint:
        matcher = self._library.LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise UserError(f"the {kind} cannot be used: {_first_line(matcher.get_error())}")
        return Constraint(matcher, self._stop)


class Guided:
    """One grammar for all answers of a batch: its place in each answer that is being written, by slot and sample."""

    def __init__(self, tokenizer: Any, grammar: str, stop: tuple[int, ...]) -> None:
        self._constraints, self._grammar = Constraints(tokenizer, stop), grammar
        self._constraints.of(grammar)
        self._places: dict[tuple[int, int], Constraint] = {}

    def start(self, slots: Tensor) -> None:
        """Forget the answers that were written in `slots`."""
        gone = set(slots.tolist())
        self._places = {where: place for where, place in self._places.items() if where[0] not in gone}

    def bias(self, slot: Tensor, sample: Tensor, vocabulary: int) -> Tensor:
        """What is added to the logits of each answer: 0 where a token may come next, else -inf. [B, V]"""
        rows = zip(slot.tolist(), sample.tolist(), strict=True)
        allowed = torch.stack([self._place(where).allowed(vocabulary) for where in rows])
        return torch.zeros(allowed.shape).masked_fill(~allowed, -torch.inf)

    def write(self, slot: Tensor, sample: Tensor, token: Tensor) -> None:
        """Take in a token of each answer [B]."""
        for s, j, t in zip(slot.tolist(), sample.tolist(), token.tolist(), strict=True):
            self._place((s, j)).take(t)

    def _place(self, where: tuple[int, int]) -> Constraint:
        if where not in self._places:
            self._places[where] = self._constraints.of(self._grammar)
        return self._places[where]


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines() or ["it does not say why"]
    return "".join(c if c.isprintable() else " " for c in lines[0])[:200]


def _llguidance() -> Any:
    try:
        return import_module("llguidance")
    except ImportError as error:
        raise UserError(
            "answers that obey a JSON schema need llguidance: pip install 'heedful[constrained]'"
        ) from error
