"""Gradient checkpointing: layers are computed again in the backward instead of being remembered."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from heedful.engine.attention import current_rows, using


def use_gradient_checkpointing(model: Any) -> None:
    """Let every layer of a transformers model forget its activations; in effect while the model is training.

    Raises ValueError if the architecture has no such layers.
    """
    # The old name warns where there is the new one.
    name = "activation_checkpointing_enable"
    enable = getattr(model, name, None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False, "context_fn": _contexts})


def _contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
    """Around the first computation nothing, around the second the rows of the first: some architectures drop
    the keyword argument that carries them.
    """
    rows = current_rows()
    return nullcontext(), nullcontext() if rows is None else using(rows)
