"""Gradient checkpointing: layers keep their inputs only and are computed again in the backward."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from heedful.engine.attention import remembered
from heedful.errors import UserError


def recompute_layers(model: nn.Module) -> None:
    """Let every transformers layer inside `model` recompute its activations in the backward.

    Loss and gradients stay the same numbers: the same operations run on the same inputs. Sampling and scoring are
    not touched. Raises UserError where an architecture has no layers that transformers can checkpoint.
    """
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    if not layers:
        raise UserError(
            f"{type(model).__name__} has no layers that can be recomputed: set gradient_checkpointing=false"
        )
    for layer in layers:
        layer.gradient_checkpointing = True
        layer._gradient_checkpointing_func = _checkpointed
        # The layer's own flag and not its children's: what trains here are models in evaluation mode.
        layer.training = True


def _checkpointed(function: Callable[..., Any], *args: Any) -> Any:
    if not torch.is_grad_enabled():
        return function(*args)
    return checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False, context_fn=_contexts)


def _contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    return nullcontext(), remembered()
