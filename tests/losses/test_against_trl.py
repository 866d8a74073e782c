"""Our losses against TRL 1.16's own code: the same log-probs in, the same loss and gradient out."""

import warnings
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from heedful.losses import preference, unpaired

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    trl = pytest.importorskip(
        "trl", reason="the independent implementation is TRL: pip install 'heedful[trl]'"
    )
    dpo_trainer = pytest.importorskip("trl.trainer.dpo_trainer")
    kto_trainer = pytest.importorskip("trl.trainer.kto_trainer")
    cpo_trainer = pytest.importorskip("trl.experimental.cpo.cpo_trainer")
    orpo_trainer = pytest.importorskip("trl.experimental.orpo.orpo_trainer")

LENGTHS = [5, 3, 7, 4], [2, 6, 4, 4]
SAME = [5, 5, 5, 5], [5, 5, 5, 5]
Tokens = tuple[Tensor, Tensor]


class Accelerator:
    """One process."""

    device = torch.device("cpu")

    @staticmethod
    def gather(value: Any) -> Any:
        return value

    gather_for_metrics = gather


def trainer(**values: Any) -> Any:
    """What TRL's loss reads of its trainer; everything else would be an AttributeError."""
    given = {
        "model": SimpleNamespace(training=True),
        "accelerator": Accelerator(),
        "aux_loss_enabled": False,
        "ld_alpha": None,
        "precompute_ref_logps": True,
        "f_divergence_type": "reverse_kl",
        "use_weighting": False,
        "label_smoothing": 0.0,
        "_total_train_tokens": 0,
        "_tp_size": 1,
        "_metrics": {"train": defaultdict(list)},
        "args": SimpleNamespace(discopop_tau=0.05),
    }
    return SimpleNamespace(**{**given, **values})


def tokens(lengths: list[int], seed: int) -> Tokens:
    """Log-probs of answers, padded on the right, and the mask of their tokens."""
    drawn = (
        -torch.rand(len(lengths), 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3
    )
    mask = torch.arange(8) < torch.tensor(lengths)[:, None]
    return drawn * mask, mask


def outputs(logp: Tensor) -> Any:
    nothing = torch.zeros_like(logp)
    return SimpleNamespace(log_probs=logp, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool())


def by_trl_dpo(logp: Tensor, mask: Tensor, ref: Tensor, kind: str, **values: Any) -> Tensor:
    """DPOTrainer's loss of given log-probs [2B, T], the chosen ones first."""
    before = torch.zeros(len(mask), 1, dtype=torch.long)
    inputs = {
        "input_ids": torch.zeros(len(mask), mask.shape[1] + 1, dtype=torch.long),
        "attention_mask": torch.ones(len(mask), mask.shape[1] + 1),
        "completion_mask": torch.cat([before, mask.long()], 1),
        "ref_chosen_logps": ref.sum(1).chunk(2)[0],
        "ref_rejected_logps": ref.sum(1).chunk(2)[1],
    }
    own = trainer(loss_types=[kind], loss_weights=[1.0], **values)
    found: Tensor = dpo_trainer.DPOTrainer._compute_loss(own, lambda **_: outputs(logp), inputs, False)
    return found


def agree(ours: Tensor, theirs: Tensor, logp: Tensor, mask: Tensor) -> None:
    """The same value, and the same gradient by the log-prob of every token that is one."""
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    (mine,) = torch.autograd.grad(ours, logp, retain_graph=True)
    (other,) = torch.autograd.grad(theirs, logp)
    assert mine.abs().max() > 0
    torch.testing.assert_close(mine * mask, other * mask, atol=1e-6, rtol=1e-6)


def both(lengths: tuple[list[int], list[int]]) -> tuple[Tensor, Tensor, Tensor]:
    (chosen, one), (rejected, two) = tokens(lengths[0], 0), tokens(lengths[1], 1)
    (ref_chosen, _), (ref_rejected, _) = tokens(lengths[0], 2), tokens(lengths[1], 3)
    logp = torch.cat([chosen, rejected]).requires_grad_()
    return logp, torch.cat([one, two]), torch.cat([ref_chosen, ref_rejected])


def by_trl_logits(kind: Any, logits: Tensor, ids: Tensor, **values: Any) -> Tensor:
    """The whole loss of CPOTrainer or ORPOTrainer on logits [2B, 1 + T, V], the chosen ones first.

    Answers of T tokens stand behind a prompt of one, which nothing predicts.
    """
    labels = ids.masked_fill(torch.arange(ids.shape[1]) == 0, -100)
    batch = {
        f"{side}_{name}": part
        for name, whole in (("input_ids", ids), ("attention_mask", torch.ones_like(ids)), ("labels", labels))
        for side, part in zip(("chosen", "rejected"), whole.chunk(2), strict=True)
    }
    own = trainer(
        **{"is_encoder_decoder": False, "pad_token_id": 0, "padding_value": 0, **values},
        concatenated_inputs=kind.concatenated_inputs,
        get_batch_logps=kind.get_batch_logps,
    )
    for name in ("concatenated_forward", "cpo_loss", "odds_ratio_loss"):
        if hasattr(kind, name):
            setattr(own, name, partial(getattr(kind, name), own))
    found: Tensor = kind.get_batch_loss_metrics(own, lambda *_, **__: SimpleNamespace(logits=logits), batch)[
        0
    ]
    return found


Four = tuple[Tensor, Tensor, Tensor, Tensor]


@pytest.mark.parametrize(
    ("kind", "settings", "loss"),
    [
        ("sigmoid", {"beta": 0.3}, lambda a, n: preference.dpo(*a, beta=0.3)),
        ("hinge", {"beta": 0.3}, lambda a, n: preference.hinge(*a, beta=0.3)),
        ("ipo", {"beta": 0.3}, lambda a, n: preference.ipo(*a, *n, tau=0.3)),
        (
            "robust",
            {"beta": 0.3, "label_smoothing": 0.2},
            lambda a, n: preference.rdpo(*a, beta=0.3, label_smoothing=0.2),
        ),
        ("sigmoid_norm", {"beta": 1.3}, lambda a, n: preference.dpo_norm(*a, *n, beta=1.3)),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_dpo_and_its_kin(
    kind: str, settings: dict[str, float], loss: Callable[[Four, Tokens], Tensor]
) -> None:
    logp, mask, ref = both(LENGTHS)
    four = (*logp.sum(1).chunk(2), *ref.sum(1).chunk(2))
    theirs = by_trl_dpo(logp, mask, ref, kind, **settings)
    agree(loss(four, mask.sum(1).double().chunk(2)).mean(), theirs, logp, mask)


def test_dpo_with_nll_at_equal_lengths() -> None:
    """TRL's second term is the mean over all tokens of the batch, ours over those of each answer."""
    logp, mask, ref = both(SAME)
    four = (*logp.sum(1).chunk(2), *ref.sum(1).chunk(2))
    theirs = [by_trl_dpo(logp, mask, ref, kind, beta=0.2) for kind in ("sigmoid", "sft")]
    ours = preference.dpo_nll(*four, mask.sum(1).double().chunk(2)[0], beta=0.2, alpha=0.7)
    agree(ours.mean(), theirs[0] + 0.7 * theirs[1], logp, mask)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cpo_and_simpo(smoothing: float) -> None:
    logp, mask, _ = both(LENGTHS)
    sums, n = logp.sum(1).chunk(2), mask.sum(1).double().chunk(2)
    own = trainer(alpha=0.0, beta=0.4, loss_type="sigmoid", label_smoothing=smoothing)
    theirs = cpo_trainer.CPOTrainer.cpo_loss(own, *sums)[0].mean()
    if smoothing:  # which of ours only DPO has: without a reference it is the same
        zero = torch.zeros_like(sums[0])
        agree(
            preference.dpo(*sums, zero, zero, beta=0.4, label_smoothing=smoothing).mean(), theirs, logp, mask
        )
        return
    agree(preference.cpo(*sums, n[0], beta=0.4, alpha=0.0).mean(), theirs, logp, mask)
    own = trainer(alpha=0.0, beta=2.5, loss_type="simpo", simpo_gamma=1.1)
    theirs = cpo_trainer.CPOTrainer.cpo_loss(own, sums[0] / n[0], sums[1] / n[1])[0].mean()
    agree(preference.simpo(*sums, *n, beta=2.5, gamma=1.1).mean(), theirs, logp, mask)


def test_orpos_odds_ratio() -> None:
    logp, mask, _ = both(LENGTHS)
    sums, n = logp.float().sum(1).chunk(2), mask.sum(1).float().chunk(2)
    ratio = orpo_trainer.ORPOTrainer.odds_ratio_loss(trainer(beta=0.3), sums[0] / n[0], sums[1] / n[1])[0]
    nll = -(sums[0] / n[0]).mean()
    agree(preference.orpo(*sums, *n, beta=0.3).mean(), nll - ratio.mean(), logp, mask)


def test_slics_ranking_part_is_cpos_hinge() -> None:
    logp, mask, _ = both(LENGTHS)
    sums = logp.sum(1).chunk(2)
    own = trainer(alpha=0.0, beta=1.0, loss_type="hinge")
    theirs = cpo_trainer.CPOTrainer.cpo_loss(own, *sums)[0].mean()
    agree(preference.slic(*sums, delta=1.0, alpha=0.0).mean(), theirs, logp, mask)


def test_soft_labels_that_are_all_the_same_are_label_smoothing() -> None:
    logp, mask, _ = both(LENGTHS)
    sums = logp.sum(1).chunk(2)
    zero = torch.zeros_like(sums[0])
    own = trainer(alpha=0.0, beta=0.4, loss_type="sigmoid", label_smoothing=0.2)
    theirs = cpo_trainer.CPOTrainer.cpo_loss(own, *sums)[0].mean()
    agree(preference.soft_dpo(*sums, zero, zero, zero + 0.8, beta=0.4).mean(), theirs, logp, mask)


CPO: dict[str, Any] = {"alpha": 0.0, "cpo_alpha": 0.7}


@pytest.mark.parametrize(
    ("kind", "settings", "loss"),
    [
        (
            "cpo",
            {**CPO, "loss_type": "sigmoid", "beta": 0.4},
            lambda s, n: preference.cpo(*s, n, beta=0.4, alpha=0.7),
        ),
        # The NLL of ours is of a whole answer, so for answers of five tokens alpha is a fifth of theirs.
        (
            "slic",
            {**CPO, "loss_type": "hinge", "beta": 1.0},
            lambda s, n: preference.slic(*s, delta=1.0, alpha=0.14),
        ),
        ("orpo", {"beta": 0.3}, lambda s, n: preference.orpo(*s, n, n, beta=0.3)),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_losses_with_the_likelihood_of_the_chosen_answer_at_equal_lengths(
    kind: str, settings: dict[str, Any], loss: Callable[[Tokens, Tensor], Tensor]
) -> None:
    """From logits on, since TRL takes the NLL from them: over all tokens of the batch, ours over each answer's."""
    generator = torch.Generator().manual_seed(7)
    logits = torch.randn(8, 6, 11, generator=generator, dtype=torch.float64).requires_grad_()
    ids = torch.randint(1, 11, (8, 6), generator=generator)
    own = orpo_trainer.ORPOTrainer if kind == "orpo" else cpo_trainer.CPOTrainer
    theirs = by_trl_logits(own, logits, ids, **settings)
    logp = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    ours = loss(logp.sum(1).chunk(2), torch.full((4,), 5.0, dtype=torch.float64)).mean()
    agree(ours, theirs, logits, torch.ones_like(logits, dtype=torch.bool))


def test_kto() -> None:
    logp, mask = tokens([5, 3, 7, 4], 0)
    ref, _ = tokens([5, 3, 7, 4], 2)
    logp.requires_grad_()
    mismatched, mismatched_ref = tokens([4, 5, 3, 7], 5)[0].sum(1), tokens([4, 5, 3, 7], 6)[0].sum(1)
    label = torch.tensor([True, False, True, False])
    inputs = {
        "input_ids": torch.zeros(4, 9, dtype=torch.long),
        "attention_mask": torch.ones(4, 9),
        "completion_mask": torch.cat([torch.zeros(4, 1), mask], 1).long(),
        "label": label,
        "ref_logps": ref.sum(1),
        "ref_KL_logps": mismatched_ref,
    }
    own = trainer(
        beta=0.2,
        loss_type="kto",
        calculate_KL=True,
        desirable_weight=1.3,
        undesirable_weight=0.9,
        _compute_kl_logps=lambda model, batch: mismatched,
    )
    theirs = kto_trainer.KTOTrainer._compute_loss(own, lambda **_: outputs(logp), inputs, False)
    baseline = torch.full((4,), float((mismatched - mismatched_ref).mean()), dtype=torch.float64)
    assert baseline[0] > 0  # or the case would not tell whether it is used
    ours = unpaired.kto(
        logp.sum(1),
        ref.sum(1),
        label.double(),
        baseline,
        beta=0.2,
        desirable_weight=1.3,
        undesirable_weight=0.9,
    )
    agree(ours.mean(), theirs, logp, mask)
