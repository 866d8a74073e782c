"""In which number format a model that is trained computes.

With bf16 the model's weights, activations and gradients are bf16, in training and in sampling; `Optimizer` keeps
the weights that it updates in fp32, and log-probs, losses and norms are fp32 always. Autocast trains as fast and
samples slower, since it rounds every weight anew in every step.
"""

from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]


def dtype(precision: Precision) -> torch.dtype:
    """The format in which the weights of a model are loaded that is to be trained."""
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
