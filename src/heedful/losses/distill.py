"""A student's distance from its teacher over the whole vocabulary. One value per token, unreduced."""

import torch
from torch import Tensor

from heedful.losses.shapes import Logits, PerToken


def forward_kl(logits: Logits, teacher_logits: Logits, *, temperature: float = 1.0) -> PerToken:
    """T^2 KL(teacher || student) of distributions softened by T: covers all that the teacher may say.

    Hinton et al. 2015, section 2 (arXiv:1503.02531).
    """
    student, teacher = _softened(logits, teacher_logits, temperature)
    return temperature**2 * _kl(teacher, student)


def reverse_kl(logits: Logits, teacher_logits: Logits, *, temperature: float = 1.0) -> PerToken:
    """T^2 KL(student || teacher): keeps to what the teacher would say. Gu et al. 2024, eq. 1 (arXiv:2306.08543)."""
    student, teacher = _softened(logits, teacher_logits, temperature)
    return temperature**2 * _kl(student, teacher)


def jensen_shannon(
    logits: Logits, teacher_logits: Logits, *, temperature: float = 1.0, beta: float = 0.5
) -> PerToken:
    """b KL(teacher || m) + (1-b) KL(student || m), m = b teacher + (1-b) student, times T^2.

    Agarwal et al. 2024, eq. 1 (arXiv:2306.13649).
    """
    student, teacher = _softened(logits, teacher_logits, temperature)
    middle = (beta * teacher.exp() + (1 - beta) * student.exp()).log()
    return temperature**2 * (beta * _kl(teacher, middle) + (1 - beta) * _kl(student, middle))


def _softened(logits: Tensor, teacher_logits: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    teacher = (teacher_logits.detach() / temperature).log_softmax(-1)
    return (logits / temperature).log_softmax(-1), teacher


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) of log-probs; what has no mass under p adds nothing."""
    return torch.where(p.exp() > 0, p.exp() * (p - q), 0.0).sum(-1)
