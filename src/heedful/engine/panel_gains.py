"""From tokens under different contexts to figures: loss, accuracy, entropy, nats saved by field, and leaks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from heedful.data import chat
from heedful.engine.panel_measure import Tokens, measured
from heedful.engine.panel_trees import encoded
from heedful.panels import requests, text
from heedful.panels.exchange import Step
from heedful.panels.panel import FIELDS, Field, Panel


def under(model: Any, tokenizer: Any, steps: Sequence[Step], panels: Sequence[Panel]) -> list[Tokens]:
    """The passages of steps, each after the question that shows the panel."""
    contexts = [
        chat.render_prompt(tokenizer, requests.write(p, s.condition))
        for s, p in zip(steps, panels, strict=True)
    ]
    return measured(model, tokenizer, contexts, [s.passage for s in steps])


def summary(rows: Sequence[Tokens]) -> dict[str, float]:
    """Mean nats, accuracy and entropy of all tokens, and nats of a passage."""
    nats, entropy, right = (
        np.concatenate([getattr(r, name) for r in rows]) for name in ("nats", "entropy", "right")
    )
    return {
        "loss": float(nats.mean()),
        "accuracy": float(right.mean()),
        "entropy": float(entropy.mean()),
        "nats_per_passage": float(nats.sum() / len(rows)),
    }


def by_field(model: Any, tokenizer: Any, steps: Sequence[Step]) -> dict[str, dict[str, float]]:
    """Nats per passage that each field saves: alone, against an empty panel, and last, when all others are there.

    Both estimate mutual information, I(field; passage) and I(field; passage | other fields), as far as the model
    has learnt to use the field.
    """
    full = summary(under(model, tokenizer, steps, [s.before for s in steps]))["nats_per_passage"]
    empty = summary(under(model, tokenizer, steps, [Panel(lang=s.before.lang) for s in steps]))[
        "nats_per_passage"
    ]
    found = {}
    for field in FIELDS:
        if all(s.before.empty(field) for s in steps):
            continue
        only, without = (
            summary(under(model, tokenizer, steps, [shown(s.before, field) for s in steps]))[
                "nats_per_passage"
            ]
            for shown in (_only, _without)
        )
        found[str(field)] = {"alone": empty - only, "last": without - full}
    found["whole panel"] = {"alone": empty - full, "last": empty - full}
    return found


def _only(panel: Panel, field: Field) -> Panel:
    return panel.only([field])


def _without(panel: Panel, field: Field) -> Panel:
    return panel.without(field)


def leaks(tokenizer: Any, steps: Sequence[Step], rows: Mapping[str, Sequence[Tokens]]) -> dict[str, float]:
    """How much of a passage stands in its panel: words in runs of four copied, and tokens; and both kinds' losses.

    `rows` names contexts under which the passages were measured: "loss_seen/NAME" is the loss of the tokens that
    occur in the panel, "loss_unseen/NAME" of the others.
    """
    seen = [
        np.isin(tokens.ids, encoded(tokenizer, "\n" + text.render(s.before)))
        for s, tokens in zip(steps, next(iter(rows.values())), strict=True)
    ]
    flat = np.concatenate(seen)
    found = {
        "copied_words": float(np.mean([copied(s.passage, text.render(s.before)) for s in steps])),
        "tokens_in_panel": float(flat.mean()),
    }
    for name, row in rows.items():
        nats = np.concatenate([t.nats for t in row])
        for part, mask in (("seen", flat), ("unseen", ~flat)):
            if mask.any():
                found[f"loss_{part}/{name}"] = float(nats[mask].mean())
    return found


def copied(passage: str, panel: str, run: int = 4) -> float:
    """The share of a passage's words (characters of Chinese) that stand in a run of `run` copied from the panel."""
    a, b = _words(passage), _words(panel)
    there = {tuple(b[i : i + run]) for i in range(len(b) - run + 1)}
    hit = np.zeros(len(a), dtype=bool)
    for i in range(len(a) - run + 1):
        if tuple(a[i : i + run]) in there:
            hit[i : i + run] = True
    return float(hit.mean()) if len(a) else 0.0


def _words(line: str) -> list[str]:
    if line.isascii() or " " in line.strip():
        return ["".join(filter(str.isalnum, word)).lower() for word in line.split()]
    return [char for char in line if char.isalnum()]
