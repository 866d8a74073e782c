"""Right-padded batches for architectures whose attention cannot be packed.

Hooks on the model and its body change the shape on the way in and back on the way out: a packed row enters, each
of its sequences (a prompt and one branch) is computed as a padded row of its own with the model's own attention,
and the packed row's hidden states leave. Heads, columns, losses, gradients and the sampler above it notice nothing.
"""

import inspect
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from heedful.engine import terminal
from heedful.engine.attention import KEYWORD, Rows, TreeRows, current_rows, using
from heedful.engine.decode import DecodeRows, PrefillRows
from heedful.engine.layout import Layout
from heedful.engine.padded_cache import recall, remember
from heedful.errors import UserError

CACHES = ("cache", "past_key_values")
"""What transformers calls the argument that holds keys and values: since 5.24, and before."""

_TOLERANCE = 1e-3  # a row that sees what it should not differs by far more, rounding by far less


def refuse_recurrent(model: Any) -> None:
    """Raise UserError for a model that hands a state from token to token: it can be neither packed nor branched."""
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    if getattr(model, "_is_stateful", False) or kinds & {
        "linear_attention",
        "conv",
        "hybrid",
        "hybrid_sliding",
    }:
        raise UserError(
            f"{model.config.model_type} models carry a recurrent state, which packed rows and shared prompts "
            "would mix up: choose a model whose layers are all attention"
        )


def use_padding(model: Any, attention: str) -> None:
    """Compute packed rows as padded batches from now on, with the named attention of transformers.

    Says so in one line an architecture. Raises UserError if the model's padded rows are not its rows alone.
    """
    model.set_attn_implementation(attention)
    for part in {model, model.base_model}:
        part.register_forward_pre_hook(_without_rows, with_kwargs=True)
    model.base_model.register_forward_pre_hook(_spread, with_kwargs=True)
    model.base_model.register_forward_hook(_gather, with_kwargs=True)
    _check(model)
    _announce(model.config.model_type)


def is_padded(model: nn.Module) -> bool:
    """Whether `model` computes packed rows as padded batches."""
    return any(_spread in part._forward_pre_hooks.values() for part in model.modules())


def accepts(model: nn.Module, name: str) -> bool:
    """Whether the model's forward has a parameter of this name."""
    return name in inspect.signature(type(model).forward).parameters


@cache
def _announce(architecture: str) -> None:
    terminal.say(
        f"heedful: the attention of {architecture} models cannot be packed: every sequence is computed as a padded "
        "row of its own, so a prompt is computed once for each of its answers, and padding costs time and memory"
    )


def _check(model: Any) -> None:
    """Compare a prompt and two branches with each sequence alone, and with what stands before its end."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = torch.randint(vocabulary, (7,), generator=generator).to(model.device)
    with torch.no_grad():
        with using(TreeRows(Layout([(3, (1, 3))]))):
            found = model.base_model(ids[None], use_cache=False)[0][0].float()
        for rows in ([0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 4, 5, 6]):
            alone = model.base_model(ids[None, rows], use_cache=False)[0][0].float()
            if not (found[rows] - alone).norm() <= _TOLERANCE * alone.norm():
                raise UserError(
                    f"{model.config.model_type} models give other numbers in a padded row than alone, so nothing can "
                    "be trusted that is computed with them: choose a model of another architecture"
                )


def _without_rows(part: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Take out what these models' signatures do not know."""
    dropped = {KEYWORD} | ({"position_ids"} if not accepts(part, "position_ids") else set())
    return args, {name: value for name, value in kwargs.items() if name not in dropped}


def _spread(body: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """[1, T] tokens of a packed row -> [S, L] padded rows, with mask, positions and, while sampling, a cache."""
    rows = current_rows()
    if rows is None:
        return None
    ids = (args[0] if args else kwargs["input_ids"])[0]
    rest = {name: value for name, value in kwargs.items() if name != "input_ids"}
    keeps = next((name for name in CACHES if accepts(body, name)), "")
    if not isinstance(rows, TreeRows) and not keeps:
        raise UserError(
            f"{body.config.model_type} models keep no keys and values, so nothing can be sampled from them: "  # type: ignore[union-attr]
            "choose a model of another architecture"
        )
    if isinstance(rows, DecodeRows):
        cache, mask, length = recall(rows)
        ids, positions = ids[:, None], length[:, None]
        rest |= {keeps: cache, "use_cache": True}
    else:
        if isinstance(rows, TreeRows) and rows.unseen is not None:
            raise UserError(
                f"the attention of {body.config.model_type} models cannot be told to overlook tokens: set mask_ratio=0"  # type: ignore[union-attr]
            )
        index, mask, _ = _plan(_layout(rows), ids.device)
        ids, positions = ids[index], torch.arange(index.shape[1], device=ids.device).expand(index.shape)
        if isinstance(rows, PrefillRows):
            rest |= {keeps: DynamicCache(), "use_cache": True}
    rest["attention_mask"] = mask
    if accepts(body, "position_ids"):
        rest["position_ids"] = positions
    return (ids, *args[1:]), rest


def _gather(body: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """[S, L, D] hidden states of padded rows -> [1, T, D] of the packed row."""
    rows = current_rows()
    if rows is None:
        return None
    hidden = output.last_hidden_state
    if isinstance(rows, DecodeRows):
        new = torch.arange(len(hidden))
        remember(rows, _kept(kwargs), (new, torch.full_like(new, -1)))
        output.last_hidden_state = hidden.transpose(0, 1)
        return output
    _, _, where = _plan(_layout(rows), hidden.device)
    if isinstance(rows, PrefillRows):
        remember(rows, _kept(kwargs), where)
    output.last_hidden_state = hidden[where][None]
    return output


def _kept(kwargs: dict[str, Any]) -> Any:
    """The cache that `_spread` handed to the body."""
    return next(kwargs[name] for name in CACHES if name in kwargs)


def _layout(rows: Rows) -> Layout:
    """The layout of a row that is computed whole."""
    tree = rows.tree if isinstance(rows, PrefillRows) else rows
    assert isinstance(tree, TreeRows)
    return tree.layout


def _plan(layout: Layout, device: torch.device) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Which packed token each padded cell holds [S, L], which cells are real [S, L], and where each token went.

    A prompt's own hidden states are those of its first copy: all copies are equal.
    """
    sequences: list[Tensor] = []
    row, column = torch.zeros(layout.total, dtype=torch.long), torch.zeros(layout.total, dtype=torch.long)
    for group in layout.groups:
        prompt = torch.arange(*group.prompt)
        for span in group.branches[::-1] or (
            None,
        ):  # backwards, so that the first copy is the one that stays
            tokens = prompt if span is None else torch.cat([prompt, torch.arange(*span)])
            row[tokens], column[tokens] = len(sequences), torch.arange(len(tokens))
            sequences.append(tokens)
    index = nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    lengths = torch.tensor([len(s) for s in sequences])
    mask = (torch.arange(index.shape[1]) < lengths[:, None]).long()
    return index.to(device), mask.to(device), (row.to(device), column.to(device))
