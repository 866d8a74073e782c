"""TRPO: natural-gradient steps of a policy that stay within a KL of it, by conjugate gradients and a line search.

Schulman et al. 2015, appendix C (arXiv:1502.05477). The Fisher matrix F is that of the distributions over the whole
vocabulary, averaged over answer tokens; it is never made: F v = J' H (J v), J the Jacobian of the logits (forward mode
for J v, one backward for J'), H = diag(p) - p p' at each token.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call

from heedful.engine.attention import MaskedRows, using
from heedful.engine.batch import Packed
from heedful.engine.fit import Term
from heedful.engine.kernels import library
from heedful.engine.optim import Optimizer, grad_norm
from heedful.engine.score import as_drawn, columns, device_of, logits
from heedful.errors import UserError
from heedful.losses import bind


@dataclass(frozen=True)
class Region:
    """How far a step may go, in nats of mean KL a token, and how hard it is looked for: sb3-contrib's defaults.

    `fisher_ratio` is the share of a step's rows that F and the KL are measured on.
    """

    max_kl: float = 0.01
    cg_iterations: int = 10
    cg_damping: float = 0.1
    line_search_steps: int = 10
    line_search_shrink: float = 0.8
    fisher_ratio: float = 1.0
    critic_updates: int = 10


class TrustRegion:
    """Takes the place of an optimiser in `fit`: gradients of all terms in, one step within the region out.

    `terms` are the policy's parts of the objective, which the line search wants to see improved; `critic` moves the
    rest of `model` with its own gradients, `critic_updates` times for `value`. Batches have to pass through `seen`.
    """

    def __init__(
        self,
        model: Any,
        policy: Any,
        region: Region,
        terms: Sequence[Term],
        critic: Optimizer | None,
        value: Term | None,
    ) -> None:
        self.model, self.policy, self.region, self.terms = model, policy, region, terms
        self.critic, self.value = critic, value
        self.names = [n for n, p in policy.named_parameters() if p.requires_grad]
        self.weights = [p for p in policy.parameters() if p.requires_grad]
        if any(w.dtype != torch.float32 for w in self.weights):
            raise UserError("TRPO needs its numbers exact: set precision to fp32")
        self.batch: Sequence[Packed] = ()
        self.metrics: dict[str, float] = {}

    def seen(self, batches: Iterable[list[Packed]]) -> Iterator[list[Packed]]:
        """Hand batches on, and know which one is being learnt from."""
        for batch in batches:
            self.batch = [p.to(device_of(self.policy)) for p in batch]
            yield batch

    @property
    def parameters(self) -> Iterable[nn.Parameter]:
        return [*self.weights, *(self.critic.parameters if self.critic else ())]

    def collect(self) -> None:
        """Gradients lie where they are used."""

    def clip(self, most: float) -> float:
        """Clip all gradients together; the norm that they had."""
        return grad_norm(self.parameters, most)

    def scale(self, factor: float) -> None:
        """The region does not shrink; the critic's learning rate does."""
        if self.critic:
            self.critic.scale(factor)

    def step(self) -> None:
        gradient = torch.cat([_or_zero(w).flatten() for w in self.weights])
        for w in self.weights:
            w.grad = None
        rows = [p for p in self.batch if not p.stream]
        measured = rows[: max(1, round(len(rows) * self.region.fisher_ratio))]
        self.metrics = self._move(-gradient, measured)
        if self.critic:
            self.critic.step()
            for _ in range(self.region.critic_updates - 1):
                self._fit_critic(rows)

    def state(self) -> dict[str, Tensor]:
        return self.critic.state() if self.critic else {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        if self.critic:
            self.critic.load_state(state)

    def _move(self, uphill: Tensor, rows: Sequence[Packed]) -> dict[str, float]:
        """Go as far along the natural gradient as the region lets, or not at all."""
        r = self.region
        before = [log_probs(self.policy, p) for p in rows]

        def fisher(v: Tensor) -> Tensor:
            return fisher_product(self.policy, self.names, rows, v) + r.cg_damping * v

        direction = conjugate_gradient(fisher, uphill, r.cg_iterations)
        curvature = float(direction @ (fisher(direction) - r.cg_damping * direction))
        if not curvature > 0:
            return {"trust/accepted": 0.0, "trust/kl": 0.0, "trust/gain": 0.0}
        whole = (2 * r.max_kl / curvature) ** 0.5 * direction
        start = [w.detach().clone() for w in self.weights]
        loss = self._loss()
        for attempt in range(r.line_search_steps):
            _put(self.weights, start, r.line_search_shrink**attempt * whole)
            kl = divergence(self.policy, rows, before)
            gain = loss - self._loss()
            if kl <= r.max_kl and gain > 0:
                share = r.line_search_shrink**attempt
                return {"trust/accepted": 1.0, "trust/kl": kl, "trust/gain": gain, "trust/share": share}
        _put(self.weights, start, torch.zeros_like(whole))
        return {"trust/accepted": 0.0, "trust/kl": 0.0, "trust/gain": 0.0}

    def _loss(self) -> float:
        """The policy's objective over the whole batch."""
        total = 0.0
        for term in self.terms:
            unit = bind.unit(term.loss)
            rows = [p for p in self.batch if p.stream == term.stream]
            divisor = sum(p.count(unit) for p in rows)
            for packed in rows:
                with torch.no_grad():
                    values = columns(self.model, packed, bind.columns(term.loss))
                    total += (
                        term.now
                        * float((bind.bind(term.loss, values) * packed.weights[unit]).sum())
                        / divisor
                    )
        return total

    def _fit_critic(self, rows: Sequence[Packed]) -> None:
        assert self.critic is not None
        assert self.value is not None
        divisor = sum(p.count("token") for p in rows)
        for packed in rows:
            values = columns(self.model, packed, bind.columns(self.value.loss))
            (bind.bind(self.value.loss, values) * packed.weights["token"]).sum().div(divisor).backward()  # type: ignore[no-untyped-call]
        self.critic.step()


def log_probs(policy: Any, packed: Packed) -> Tensor:
    """The log-probs [N, V] of every word at every trained token, of the distribution that answers are drawn from."""
    with torch.no_grad():
        return _drawn(logits(policy, packed, packed.rows).float(), packed).log_softmax(-1)


def divergence(policy: Any, rows: Sequence[Packed], before: Sequence[Tensor]) -> float:
    """The mean over tokens of KL(before || now)."""
    total = 0.0
    for packed, old in zip(rows, before, strict=True):
        p = old.exp()
        each = torch.where(p > 0, p * (old - log_probs(policy, packed)), 0.0).sum(-1)
        total += float((each * packed.weights["token"]).sum())
    return total / sum(float(p.weights["token"].sum()) for p in rows)


def fisher_product(policy: Any, names: Sequence[str], rows: Sequence[Packed], v: Tensor) -> Tensor:
    """F v, F the mean over tokens of J' (diag(p) - p p') J; `v` runs over the parameters `names` in order."""
    own = dict(policy.named_parameters())
    weights = [own[n] for n in names]
    tangents = dict(zip(names, _split(v, weights), strict=True))
    divisor = sum(float(p.weights["token"].sum()) for p in rows)
    total = torch.zeros_like(v)
    for packed in rows:
        moved = _logits_along(policy, packed, tangents)
        z = _drawn(logits(policy, packed, packed.rows).float(), packed)
        p = z.detach().softmax(-1)
        pushed = p * (moved - (p * moved).sum(-1, keepdim=True)) * packed.weights["token"][:, None]
        inner = torch.where(p > 0, z * pushed, 0.0).sum() / divisor
        found = torch.autograd.grad(inner, weights, allow_unused=True)
        total += torch.cat(
            [
                torch.zeros_like(w).flatten() if g is None else g.flatten()
                for g, w in zip(found, weights, strict=True)
            ]
        )
    return total


def conjugate_gradient(
    product: Callable[[Tensor], Tensor], b: Tensor, iterations: int, tolerance: float = 1e-10
) -> Tensor:
    """Solve A x = b for a positive definite A known by its products; exact after as many steps as dimensions."""
    x = torch.zeros_like(b)
    residual, direction = b.clone(), b.clone()
    size = residual @ residual
    for _ in range(iterations):
        if float(size) < tolerance * float(b @ b):
            break
        along = product(direction)
        step = size / (direction @ along)
        x, residual = x + step * direction, residual - step * along
        smaller = residual @ residual
        direction, size = residual + smaller / size * direction, smaller
    return x


def _logits_along(policy: Any, packed: Packed, tangents: dict[str, Tensor]) -> Tensor:
    """J v: how the logits [N, V] change along the tangents of the parameters, by forward-mode differentiation."""
    masked = using(MaskedRows(packed.layout))
    with torch.no_grad(), forward_ad.dual_level(), library.paused(), masked as keywords:
        own = dict(policy.named_parameters())
        duals = {
            n: forward_ad.make_dual(own[n].detach(), t)  # type: ignore[no-untyped-call]
            for n, t in tangents.items()
        }
        given = {"position_ids": packed.positions[None], "use_cache": False, "logits_to_keep": packed.rows}
        out = functional_call(policy, duals, (packed.ids[None],), {**given, **keywords})
        z = _drawn(out.logits[0].float(), packed)
        moved: Tensor | None = forward_ad.unpack_dual(z).tangent  # type: ignore[no-untyped-call]
    return torch.zeros_like(out.logits[0]) if moved is None else moved


def _drawn(z: Tensor, packed: Packed) -> Tensor:
    return z if packed.drawn is None else as_drawn(z, packed.targets, packed.drawn)


def _or_zero(weight: nn.Parameter) -> Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad


def _split(v: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    return [part.view_as(w) for part, w in zip(torch.split(v, [w.numel() for w in like]), like, strict=True)]


def _put(weights: Sequence[nn.Parameter], start: Sequence[Tensor], move: Tensor) -> None:
    with torch.no_grad():
        for w, old, by in zip(weights, start, _split(move, weights), strict=True):
            w.copy_(old + by)
