"""What is known of sampled answers, as padded rows: log-probs, scores, the distance from the reference."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from heedful.engine.batch import Column, Tree
from heedful.losses import kl


@dataclass(frozen=True)
class Table:
    """Rows are answers, columns tokens, padded on the right; answers to one prompt follow one another.

    `earned` says on which tokens the scores were earned; without it, on the last.
    """

    logp: Tensor
    ref_logp: Tensor | None
    mask: Tensor
    lengths: Tensor
    scores: Tensor
    earned: Tensor | None = None

    @classmethod
    def of(
        cls,
        logp: Sequence[Tensor],
        scores: Tensor,
        ref_logp: Sequence[Tensor] | None,
        earned: Sequence[Tensor] | None = None,
    ) -> "Table":
        lengths = torch.tensor([len(row) for row in logp])
        table = padded(logp)
        mask = torch.arange(table.shape[1]) < lengths[:, None]
        reference, places = (None if rows is None else padded(rows) for rows in (ref_logp, earned))
        return cls(table, reference, mask, lengths, scores, places)

    def rewards(self, kl_coef: float, estimator: kl.Estimator = "k1") -> Tensor:
        """Minus the penalised KL at every token, and the answer's score where it was earned."""
        rewards = -kl_coef * self.divergence(kl.MEASURES[estimator])
        if self.earned is not None:
            return rewards + self.earned
        rewards[torch.arange(len(self.scores)), self.lengths - 1] += self.scores
        return rewards

    def divergence(self, estimate: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """An estimate of KL(policy || reference) from every token, zero without a reference."""
        if self.ref_logp is None:
            return torch.zeros_like(self.logp)
        return estimate(self.logp, self.ref_logp) * self.mask

    def figures(self) -> dict[str, float]:
        """Metrics of rewards, lengths and the distance from the reference."""
        figures = {
            "reward": float(self.scores.mean()),
            "reward_std": float(self.scores.std(correction=0)),
            "completions/mean_length": float(self.lengths.float().mean()),
        }
        if self.ref_logp is not None:
            figures["kl"] = float(self.divergence(kl.k1).sum(1).mean())
            figures["kl_k3"] = float(self.divergence(kl.k3).sum(1).mean())
        return figures

    def cut(self, columns: dict[str, Tensor]) -> Iterator[dict[str, Column]]:
        """The columns of each answer, its log-probs among them."""
        known = {"behavior_logp": self.logp} | ({} if self.ref_logp is None else {"ref_logp": self.ref_logp})
        for number, length in enumerate(self.lengths.tolist()):
            yield {name: values[number, :length].numpy() for name, values in (known | columns).items()}


def with_columns(trees: Sequence[Tree], columns: Iterator[Mapping[str, Column]]) -> list[Tree]:
    """Give every answer its columns, which come in the order of the answers."""
    return [
        replace(
            tree, branches=tuple(replace(b, columns={**b.columns, **next(columns)}) for b in tree.branches)
        )
        for tree in trees
    ]


def padded(rows: Sequence[Tensor]) -> Tensor:
    """Rows of different lengths as one tensor, zeros on the right."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True).float()
