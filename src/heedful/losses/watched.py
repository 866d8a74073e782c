"""What is watched while a policy learns from judgements. One value per pair or sequence; none of it is trained on."""

from torch import Tensor

from heedful.losses.shapes import PerPair, PerSequence


def chosen_reward(chosen_logp: PerPair, chosen_ref_logp: PerPair, *, beta: float = 1.0) -> PerPair:
    """The implicit reward of the chosen answer, beta log(pi / ref); without beta, its drift in nats."""
    return beta * (chosen_logp - chosen_ref_logp)


def rejected_reward(rejected_logp: PerPair, rejected_ref_logp: PerPair, *, beta: float = 1.0) -> PerPair:
    """The same of the rejected answer."""
    return beta * (rejected_logp - rejected_ref_logp)


def reward_margin(
    chosen_logp: PerPair,
    rejected_logp: PerPair,
    chosen_ref_logp: PerPair,
    rejected_ref_logp: PerPair,
    *,
    beta: float = 1.0,
) -> PerPair:
    """By how much the implicit reward of the chosen answer is the higher one."""
    return beta * ((chosen_logp - chosen_ref_logp) - (rejected_logp - rejected_ref_logp))


def chosen_logp(chosen_logp: PerPair) -> PerPair:
    """The log-prob of the chosen answer."""
    return chosen_logp


def rejected_logp(rejected_logp: PerPair) -> PerPair:
    """The log-prob of the rejected answer."""
    return rejected_logp


def likelier(
    chosen_logp: PerPair, rejected_logp: PerPair, chosen_length: PerPair, rejected_length: PerPair
) -> Tensor:
    """1 where the chosen answer has the higher log-prob per token."""
    return (chosen_logp / chosen_length > rejected_logp / rejected_length).float()


def log_ratio(sequence_logp: PerSequence, sequence_ref_logp: PerSequence) -> PerSequence:
    """log(pi / ref) of each answer."""
    return sequence_logp - sequence_ref_logp


def baseline(baseline: PerSequence) -> PerSequence:
    """KTO's estimate of the KL to the reference, at least 0."""
    return baseline.clamp_min(0)
