"""Answers that obey a JSON schema, by llguidance, an optional extra: `pip install heedful[constrained]`."""

import json
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heedful.errors import UserError


class Constraint:
    """What of a JSON schema has been written so far, as a `Grammar`."""

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
    """JSON schemas for one tokenizer; `stop` are the tokens that end an answer."""

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
        matcher = kind(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise UserError(f"the JSON schema cannot be used: {_first_line(matcher.get_error())}")
        return Constraint(matcher, self._stop)


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
