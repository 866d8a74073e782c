"""The KL over every word, a few rows at a time, is that of the whole distributions: value, gradient, every head."""

import math

import pytest
import torch
from torch import Tensor

from heedful.losses import distill
from heedful.nn import divergence
from heedful.nn.divergence import token_kl
from heedful.nn.logprob import Head


def logits(hidden: Tensor, head: Head) -> Tensor:
    z = head.scale * torch.nn.functional.linear(hidden, head.weight, head.bias)
    return z if head.softcap is None else head.softcap * torch.tanh(z / head.softcap)


def test_by_hand() -> None:
    """p = (1/2, 1/4, 1/4), q = (1/4, 1/4, 1/2): KL(p || q) = ln 2 / 4, KL(p || p) = 0."""
    p, q = (torch.tensor(row).log() for row in ([0.5, 0.25, 0.25], [0.25, 0.25, 0.5]))
    identity = Head(torch.eye(3))
    found = token_kl(torch.stack([p, p]), identity, torch.stack([q, p]), identity)
    assert found.tolist() == pytest.approx([math.log(2) / 4, 0.0], abs=1e-7)


@pytest.mark.parametrize("rows", [1, 4, 100])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("scale", "softcap"), [(1.0, None), (0.5, 3.0)])
def test_any_cut_into_rows_equals_torch_on_whole_logits(
    rows: int, bias: bool, scale: float, softcap: float | None
) -> None:
    g = torch.Generator().manual_seed(3)
    hidden, weight, its_bias, ref_hidden, ref_weight = (
        torch.randn(*shape, generator=g) for shape in ((11, 6), (23, 6), (23,), (11, 5), (20, 5))
    )
    on_kl = torch.randn(11, generator=g)
    ref = Head(ref_weight, None, 2.0)

    def gradients(kl: Tensor, made: list[Tensor]) -> list[Tensor]:
        used = made if bias else made[:2]
        return list(torch.autograd.grad((kl * on_kl.to(kl.dtype)).sum(), used))

    made = [x.clone().requires_grad_() for x in (hidden, weight, its_bias)]
    head = Head(made[1], made[2] if bias else None, scale, softcap)
    found = token_kl(made[0], head, ref_hidden, ref, rows=rows)

    whole = [x.double().requires_grad_() for x in (hidden, weight, its_bias)]
    z = logits(whole[0], Head(whole[1], whole[2] if bias else None, scale, softcap))[:, :20]
    log_q = logits(ref_hidden.double(), Head(ref_weight.double(), None, 2.0)).log_softmax(-1)
    expected = torch.nn.functional.kl_div(log_q, z.log_softmax(-1), reduction="none", log_target=True).sum(-1)
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    for mine, theirs in zip(gradients(found, made), gradients(expected, whole), strict=True):
        torch.testing.assert_close(mine.double(), theirs, atol=1e-5, rtol=1e-4)


def test_it_is_the_loss_that_distillation_has_on_logits() -> None:
    g = torch.Generator().manual_seed(1)
    hidden, ref_hidden, weight, ref_weight = (
        torch.randn(*s, generator=g) for s in ((7, 4), (7, 4), (9, 4), (9, 4))
    )
    found = token_kl(hidden, Head(weight), ref_hidden, Head(ref_weight), rows=3)
    expected = distill.reverse_kl(hidden @ weight.t(), ref_hidden @ ref_weight.t())
    torch.testing.assert_close(found, expected)


def test_no_more_than_a_few_rows_of_logits_exist_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    made = divergence.chunks

    def counted(*args: object, **kwargs: object) -> object:
        for part, z in made(*args, **kwargs):  # type: ignore[arg-type]
            seen.append(len(z))
            yield part, z

    monkeypatch.setattr(divergence, "chunks", counted)
    hidden = torch.randn(10, 4, requires_grad=True)
    token_kl(
        hidden, Head(torch.randn(9, 4)), torch.randn(10, 4), Head(torch.randn(9, 4)), rows=4
    ).sum().backward()
    assert max(seen) == 4
    assert sum(seen) == 4 * 10  # the policy's and the reference's, forward and backward
