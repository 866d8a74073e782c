"""In which number format a model that is trained computes.

With bf16 the model's weights, activations and gradients are bf16, in training and in sampling; `Optimizer` keeps
the weights that it updates in fp32, and log-probs, losses and norms are fp32 always. Autocast trains as fast and
samples slower, since it rounds every weight anew in every step.

`auto` becomes one of the two when a configuration is made, so that the identity of a run says which.
"""

from functools import cache
from typing import Annotated, Literal

import torch
from pydantic import AfterValidator, Field

from heedful.engine import terminal
from heedful.nn import hub

Name = Literal["auto", "fp32", "bf16"]


def resolved(precision: Name) -> Literal["fp32", "bf16"]:
    """What `auto` means where models are put: bf16 on a GPU that has it, fp32 elsewhere."""
    if precision != "auto":
        return precision
    if hub.device().type != "cuda" or not torch.cuda.is_bf16_supported():
        return "fp32"
    _say("precision=auto: bf16 on this GPU, with master weights in fp32")
    return "bf16"


Precision = Annotated[Name, AfterValidator(resolved), Field(validate_default=True)]
"""The setting of a configuration; in a configuration that was made it is fp32 or bf16."""


def dtype(precision: Name) -> torch.dtype:
    """The format in which the weights of a model are loaded that is to be trained."""
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[resolved(precision)]


@cache
def _say(line: str) -> None:
    terminal.say(line)
