"""Optimisers and learning-rate schedules."""

import math
from collections.abc import Callable, Collection, Iterable
from typing import Any, Literal, Protocol, cast

import torch
from torch import Tensor, nn

from heedful.engine.adamw_8bit import AdamW8bit
from heedful.engine.kernels import adamw
from heedful.engine.kernels.adamw import AdamW

OptimizerName = Literal["adamw", "adamw_8bit", "muon"]
ScheduleName = Literal["constant", "linear", "cosine"]
MASTER = "master"


class Stepping(Protocol):
    """What `fit` steps with: collects gradients after each backward, steps once a batch, has a state to be saved."""

    @property
    def parameters(self) -> Iterable[nn.Parameter]: ...
    def collect(self) -> None: ...
    def clip(self, most: float) -> float: ...
    def scale(self, factor: float) -> None: ...
    def step(self) -> None: ...
    def state(self) -> dict[str, Tensor]: ...
    def load_state(self, state: dict[str, Tensor]) -> None: ...


class Optimizer:
    """AdamW, or Muon for the hidden matrices with AdamW for the rest; its state is tensors by parameter name.

    A weight in bf16 has a master copy in fp32: gradients are summed, clipped and applied there, since an update of
    less than a 256th of a weight would be lost in bf16. A weight in fp32 is its own master. With `offload` every
    weight has its master, gradients and moments in the host's memory, and steps are taken there.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        name: OptimizerName = "adamw",
        learning_rate: float,
        matrix_learning_rate: float = 0.02,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        offload: bool = False,
    ) -> None:
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        masters = {n: hosted(p) if offload else master(p) for n, p in trained.items()}
        self.names = {masters[n]: n for n in trained}
        self.copies = {p: masters[n] for n, p in trained.items() if masters[n] is not p}
        for weight in () if offload else self.copies:
            weight.grad_dtype = None  # what is computed in fp32 need not be rounded on its way to the master
        hidden = name == "muon"
        matrices = [p for p, n in self.names.items() if hidden and p.ndim == 2 and ".layers." in n]
        inside = set(map(id, matrices))
        others = [p for p in self.names if id(p) not in inside]
        groups = [
            {"params": [p for p in others if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0},
        ]
        given: dict[str, Any] = {"lr": learning_rate, "betas": betas, "eps": eps}
        filled = [g for g in groups if g["params"]]
        weights = {
            masters[n]: p for n, p in trained.items() if p in self.copies and id(masters[n]) not in inside
        }
        self.parts: list[torch.optim.Optimizer] = [
            AdamW8bit(filled, **given) if name == "adamw_8bit" else AdamW(filled, weights, **given)
        ]
        if matrices:
            muon = torch.optim.Muon(
                matrices, lr=matrix_learning_rate, weight_decay=weight_decay, adjust_lr_fn="original"
            )
            self.parts.append(muon)
        self.base = [[g["lr"] for g in part.param_groups] for part in self.parts]

    @property
    def parameters(self) -> Iterable[nn.Parameter]:
        """What gradients are collected in and steps are taken on: masters, in the model's order."""
        return self.names.keys()

    def collect(self) -> None:
        """Add the gradients that a backward left on weights to those of their masters, where these are others."""
        for weight, copy in self.copies.items():
            if weight.grad is None:
                continue
            if copy.grad is None:
                copy.grad = weight.grad.to(copy)
            else:
                copy.grad += weight.grad.to(copy)
            weight.grad = None

    def clip(self, most: float) -> float:
        """Let the next step be of gradients with norm at most `most`; the norm that they have."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = adamw.norm(gradients)
        factor = float(torch.clamp(most / (norm + 1e-6), max=1.0))
        for part in self.parts:
            if isinstance(part, AdamW):
                part.factor = factor
            elif factor != 1:
                own = [p for group in part.param_groups for p in group["params"] if p.grad is not None]
                for parameter in own:
                    parameter.grad.mul_(factor)
        return float(norm)

    def scale(self, factor: float) -> None:
        """Set every learning rate to `factor` times its peak."""
        for part, base in zip(self.parts, self.base, strict=True):
            for group, lr in zip(part.param_groups, base, strict=True):
                group["lr"] = lr * factor

    def step(self) -> None:
        written: set[int] = set()
        for part in self.parts:
            part.step()
            part.zero_grad(set_to_none=True)
            if isinstance(part, AdamW):
                written = set(map(id, part.copies))
                part.factor = 1.0
        self._copy_back(written)

    def _copy_back(self, written: Collection[int] = ()) -> None:
        """Write masters to their weights, but those that are `written` already."""
        with torch.no_grad():
            for weight, copy in self.copies.items():
                if id(copy) not in written:
                    weight.copy_(copy)

    def state(self) -> dict[str, Tensor]:
        """Every tensor of the state under "parameter/key"; masters under "parameter/master"."""
        found: dict[str, Tensor] = {f"{self.names[c]}/{MASTER}": c.detach() for c in self.copies.values()}
        for part in self.parts:
            for parameter, values in part.state.items():
                for key, value in values.items():
                    found[f"{self.names[cast(nn.Parameter, parameter)]}/{key}"] = value
        return found

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Put back what `state` returned."""
        by_name = {n: p for p, n in self.names.items()}
        owner = {p: part for part in self.parts for g in part.param_groups for p in g["params"]}
        for name, value in state.items():
            parameter_name, _, key = name.rpartition("/")
            parameter = by_name[parameter_name]
            if key == MASTER:
                with torch.no_grad():
                    parameter.copy_(value)
            else:
                owner[parameter].state[parameter][key] = value.to(parameter.device, copy=True)
        self._copy_back()


def master(weight: nn.Parameter) -> nn.Parameter:
    """The parameter in fp32 that is optimised in place of `weight`."""
    return weight if weight.dtype == torch.float32 else nn.Parameter(weight.detach().float())


def hosted(weight: nn.Parameter) -> nn.Parameter:
    """A parameter in fp32 on the host that is optimised in place of `weight`."""
    return nn.Parameter(weight.detach().to("cpu", torch.float32, copy=True))


def schedule(
    name: ScheduleName, *, steps: int, warmup: int = 0, floor: float = 0.1
) -> Callable[[int], float]:
    """The factor on the peak learning rate at each step: linear warm-up, then decay to `floor` of the peak."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        done = min(1.0, (step - warmup) / max(1, steps - warmup))
        if name == "constant":
            return 1.0
        shape = 1 - done if name == "linear" else 0.5 * (1 + math.cos(math.pi * done))
        return floor + (1 - floor) * shape

    return factor


def grad_norm(parameters: Iterable[nn.Parameter], clip: float) -> float:
    """Clip the gradients to norm `clip` and return the norm they had."""
    norm: Any = nn.utils.clip_grad_norm_(list(parameters), clip, foreach=True)
    return float(norm)
