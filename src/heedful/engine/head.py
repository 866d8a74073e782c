"""The language-model head of a model as plain numbers, where it is one: then logits need not exist whole."""

from typing import Any

import torch
from torch import nn

from heedful.engine.attention import TreeRows, using
from heedful.engine.layout import Layout
from heedful.errors import UserError
from heedful.nn.logprob import Head


def linear_head(model: Any) -> Head | None:
    """The head that makes `model`'s logits from its last hidden states, or None where it is of another kind.

    Architectures scale and cap their logits each in their own way, so what the configuration says is believed
    only if it gives the logits that the model itself gives, once, on two tokens.
    """
    head = _described(model)
    if head is not None and not hasattr(model, "heedful_plain_head"):
        model.heedful_plain_head = _gives_the_logits(model, head)
    return head if head is not None and model.heedful_plain_head else None


def plain_head(model: Any) -> Head:
    """The same where there is no other way; UserError where it is of another kind."""
    if (head := linear_head(model)) is None:
        raise UserError(
            "the distance over the whole vocabulary needs a model whose head is one linear layer: take kl_estimator=k3"
        )
    return head


def _described(model: Any) -> Head | None:
    layer = model.get_output_embeddings()
    if type(layer) is not nn.Linear:
        return None
    config = model.config.get_text_config()
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    scale /= float(getattr(config, "logits_scaling", None) or 1.0)
    return Head(layer.weight, layer.bias, scale, getattr(config, "final_logit_softcapping", None))


def _gives_the_logits(model: Any, head: Head) -> bool:
    rows = TreeRows(Layout([(2, ())]))
    token = torch.arange(2, device=model.device)[None]
    with using(rows) as keywords, torch.no_grad():
        given = {"position_ids": token, "use_cache": False, **keywords}
        hidden = getattr(model.base_model(token, **given), "last_hidden_state", None)
        if hidden is None:
            return False
        expected, found = model(token, **given).logits[0].float(), head.logits(hidden[0])
    # Rounding of the dtype that the logits were made in, on the scale of the largest of them.
    tolerance = 8 * torch.finfo(hidden.dtype).eps * float(expected.abs().max())
    return bool((found - expected).abs().max() <= tolerance)
