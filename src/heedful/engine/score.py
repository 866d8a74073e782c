"""Run a model on a packed row and return the columns that losses name: log-probs, entropies, values, scores."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from heedful.data.packing import pack
from heedful.engine.attention import NAME, TreeRows, Variant, using
from heedful.engine.batch import Packed, Tree, collate
from heedful.engine.choose import truncate
from heedful.engine.head import linear_head, plain_head
from heedful.engine.kernels.choice import kernels_for
from heedful.engine.kernels.head import head_kernel
from heedful.engine.kernels.patch import use_fused
from heedful.engine.padded import refuse_recurrent, use_padding
from heedful.engine.sampling import Sampling
from heedful.losses import bind
from heedful.nn.actor_critic import ActorCritic, SharedTrunk
from heedful.nn.divergence import token_kl
from heedful.nn.likelihood_scorer import LikelihoodScorer
from heedful.nn.logprob import Guess, token_logprobs
from heedful.nn.pupil import Pupil
from heedful.nn.scorer_with_writer import ScorerWithWriter

# Up to so many logits they are made whole: three products instead of four, since chunks take 26-40 % more of the
# head's time. At this size (4096 tokens x 16384 words) that costs 1.0 GB in fp32 at the peak, chunks 0.2 GB.
FULL_LOGITS = 2**26


def use_packed_attention(model: Any) -> None:
    """Route every transformers model inside `model` through packed attention, and make sure that it is.

    Some architectures accept the setting and never call the interface: their rows would leak into one another
    without a sign. A model whose layers do not all call it computes padded batches instead (`engine.padded`).
    """
    for part in model.modules():
        if not hasattr(part, "set_attn_implementation") or getattr(part, "heedful_packed", False):
            continue
        refuse_recurrent(part)
        before = part.config._attn_implementation
        if _probe(part) != part.config.get_text_config().num_hidden_layers:
            use_padding(part, before)
        use_fused(part)
        for inner in part.modules():
            if hasattr(inner, "set_attn_implementation"):
                inner.heedful_packed = True


class _CallCounter:
    """Rows that only count how often attention is called."""

    calls = 0

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor, variant: Variant) -> Tensor:
        self.calls += 1
        return q.transpose(1, 2)


def _probe(model: Any) -> int:
    """How many attention layers call the interface in a forward of two tokens; 0 if the model knows of none."""
    counter = _CallCounter()
    token = torch.zeros(1, 2, dtype=torch.long, device=model.device)
    try:
        model.set_attn_implementation(NAME)
        with using(counter) as keywords, torch.no_grad():
            model.base_model(token, position_ids=torch.arange(2)[None], use_cache=False, **keywords)
    except (ValueError, TypeError):  # the setting is refused, or the keyword arguments are
        return 0
    return counter.calls


def logits(model: nn.Module, packed: Packed, rows: Tensor) -> Tensor:
    """Logits [len(rows), vocabulary] of a causal language model at the given positions of the row."""
    with using(TreeRows(packed.layout, packed.unseen)) as keywords:
        out = model(
            packed.ids[None],
            position_ids=packed.positions[None],
            use_cache=False,
            logits_to_keep=rows,
            **keywords,
        )
    result: Tensor = out.logits[0]
    return result


def states(model: nn.Module, packed: Packed, rows: Tensor) -> Tensor:
    """Last hidden states [len(rows), D] at the given positions of the row."""
    with using(TreeRows(packed.layout, packed.unseen)) as keywords:
        out = model.base_model(  # type: ignore[operator]
            packed.ids[None], position_ids=packed.positions[None], use_cache=False, **keywords
        )
    result: Tensor = out.last_hidden_state[0, rows]
    return result


def scalars(model: nn.Module, packed: Packed, rows: Tensor) -> Tensor:
    """The scalar head of a sequence-classification model at the given positions of the row: [len(rows)], fp32.

    The head has no bias; the mean score that calibration found is kept in the configuration.
    """
    head: Any = model.score
    result = F.linear(states(model, packed, rows).float(), head.weight.float())[:, 0]
    return result - getattr(model.config, "score_mean", 0.0)


def token_columns(
    model: Any, packed: Packed, *, entropy: bool, hidden: Tensor | None = None, guess: Guess | None = None
) -> dict[str, Tensor]:
    """`logp` [N] of the trained tokens and, if asked for, `entropy` [N].

    Logits are made whole where they are few and there is no compiled head, which takes them a few rows at a time.
    Where the row says how its answers were drawn, both columns are of that distribution. `hidden` [N, D] are the
    states that the tokens are predicted from, where the caller has them already and the head is a linear one.
    """
    many = len(packed.rows) * model.config.get_text_config().vocab_size > FULL_LOGITS
    in_parts = (many or kernels_for(next(model.parameters())) is not None) and packed.drawn is None
    if in_parts and (head := linear_head(model)) is not None:
        hidden = states(model, packed, packed.rows) if hidden is None else hidden
        kernel = head_kernel(hidden, head.weight)
        logp, found = token_logprobs(
            hidden, head, packed.targets, entropy=entropy, guess=guess, kernel=kernel
        )
        return {"logp": logp} | ({} if found is None else {"entropy": found})
    if hidden is not None and (head := linear_head(model)) is not None:
        z = head.logits(hidden).float()
    else:
        z = logits(model, packed, packed.rows).float()
    if packed.drawn is not None:
        z = as_drawn(z, packed.targets, packed.drawn)
    values = {"logp": -F.cross_entropy(z, packed.targets, reduction="none")}
    if entropy:
        all_logp = z.log_softmax(-1)
        values["entropy"] = -(all_logp.exp() * all_logp.clamp_min(-1e4)).sum(-1)  # 0 log 0 is 0
    return values


def as_drawn(logits: Tensor, targets: Tensor, how: Sampling) -> Tensor:
    """Logits [N, V] of the distribution that a sampler with these logits draws from: tempered, then truncated.

    Which tokens are dropped follows from these logits by the same rule, without a gradient; a target [N] is never
    dropped, since it was drawn by an earlier policy that kept it.
    """
    z = logits / how.temperature
    if not how.truncated:
        return z
    kept = truncate(z.detach().softmax(-1), how) > 0
    kept = kept.scatter(-1, targets[:, None], True)
    return z.masked_fill(~kept, float("-inf"))


def scores_and_logp(model: LikelihoodScorer | ScorerWithWriter, packed: Packed) -> dict[str, Tensor]:
    """`score` [S] and `logp` [N] of a reward model that is also a writer, from one pass through its body."""
    read = packed.tokens if isinstance(model, LikelihoodScorer) else packed.last
    hidden = states(model.writer, packed, torch.cat([packed.rows, read]))
    before, after = hidden[: len(packed.rows)], hidden[len(packed.rows) :]
    if (head := linear_head(model.writer)) is None:
        logp = token_columns(model.writer, packed, entropy=False)["logp"]
    elif len(packed.rows) * len(head.weight) > FULL_LOGITS:
        logp, _ = token_logprobs(before, head, packed.targets)
    else:
        logp = -F.cross_entropy(head.logits(before), packed.targets, reduction="none")
    if isinstance(model, LikelihoodScorer):
        length = torch.bincount(packed.sequence, minlength=len(packed.last)).clamp_min(1)
        score = per_sequence(model(after, logp), packed) / length
    else:
        score = F.linear(after.float(), model.scorer.score.weight.float())[:, 0]
    return {"logp": logp, "score": score - getattr(model.config, "score_mean", 0.0)}


def computed(
    model: Any, packed: Packed, quantities: Set[str], guess: Guess | None = None
) -> dict[str, Tensor]:
    """The named quantities for which the model has to be run, each part of it once."""
    if isinstance(model, LikelihoodScorer | ScorerWithWriter):
        return scores_and_logp(model, packed)
    policy = model.policy if isinstance(model, ActorCritic | SharedTrunk | Pupil) else model
    values: dict[str, Tensor] = {}
    hidden = None
    if "state" in quantities:
        values["state"] = states(policy, packed, packed.rows)
    if "ref_kl" in quantities:
        hidden = states(policy, packed, packed.rows)
        heads = plain_head(policy), plain_head(model.teacher)
        values["ref_kl"] = token_kl(hidden, heads[0], packed.columns["ref_state"], heads[1])
    if "value" in quantities and isinstance(model, SharedTrunk):
        hidden = states(policy, packed, packed.rows)
        values["value"] = F.linear(hidden.float(), model.value_head.weight.float())[:, 0]
    elif "value" in quantities:
        critic = model.critic if isinstance(model, ActorCritic) else model
        values["value"] = scalars(critic, packed, packed.rows)
    if quantities & {"logp", "entropy"}:
        values |= token_columns(policy, packed, entropy="entropy" in quantities, hidden=hidden, guess=guess)
    if "logits" in quantities:
        values["logits"] = logits(policy, packed, packed.rows).float()
    if "teacher_logits" in quantities:
        with torch.no_grad():
            values["teacher_logits"] = logits(model.teacher, packed, packed.rows).float()
    if "score" in quantities:
        values["score"] = scalars(model, packed, packed.last)
    if "step_score" in quantities:
        values["step_score"] = scalars(model, packed, packed.tokens)
    return values


def columns(
    model: Any, packed: Packed, names: Iterable[str], guess: Guess | None = None
) -> dict[str, Tensor]:
    """Compute the named columns: model outputs are computed once, the rest is looked up in the batch.

    `guess` tells the gradients of log-probs and entropies in advance.
    """
    wanted = set(names)
    quantities = {bind.quantity(n) for n in wanted}
    values = packed.columns | {"strength": packed.strength, "probability": packed.probability}
    values |= computed(model, packed, quantities, guess)
    if "length" in quantities:
        values["length"] = torch.bincount(packed.sequence, minlength=len(packed.last)).float()
    if "present" in quantities:
        values["present"] = torch.ones(len(packed.last), device=packed.ids.device)
    if missing := sorted(quantities - values.keys()):
        raise KeyError(f"a loss needs the column '{missing[0]}', which this batch does not carry")
    return {name: arranged(name, values[bind.quantity(name)], packed) for name in wanted}


def arranged(name: str, value: Tensor, packed: Packed) -> Tensor:
    """A quantity as the column that a loss names: by token, sequence, pair or, side by side, by prompt."""
    prefix = bind.prefix(name)
    if not prefix:
        return value
    whole = per_sequence(value, packed) if bind.quantity(name) in bind.TOKEN else value
    if prefix == "listed_":
        return side_by_side(whole, packed)
    return {"chosen_": whole[packed.chosen], "rejected_": whole[packed.rejected], "sequence_": whole}[prefix]


def side_by_side(value: Tensor, packed: Packed) -> Tensor:
    """Values of sequences [S] -> [G, K], one row a group, zeros on the right."""
    sizes = torch.bincount(packed.group)
    place = torch.arange(len(value), device=value.device) - (sizes.cumsum(0) - sizes)[packed.group]
    table = torch.zeros(len(sizes), int(sizes.max()), device=value.device, dtype=value.dtype)
    return table.index_put((packed.group, place), value)


def device_of(model: nn.Module) -> torch.device:
    """Where a model's weights lie, and so where its rows have to be."""
    return next(model.parameters()).device


def per_sequence(value: Tensor, packed: Packed) -> Tensor:
    """Sum a per-token column [N] over each sequence: [S]."""
    return torch.zeros(len(packed.last), device=value.device).index_add(0, packed.sequence, value)


def sequence_columns(
    model: nn.Module,
    trees: Sequence[Tree],
    name: str,
    *,
    token_budget: int = 16384,
    drawn: Sampling | None = None,
) -> list[list[Tensor]]:
    """Compute one column without gradient and cut it up again: [tree][sequence] -> values of that sequence (CPU).

    A per-token column gives [n] values per sequence, `score` gives one. `drawn` is how the answers were sampled, where
    log-probs are to be of that distribution.
    """
    use_packed_attention(model)
    order: dict[int, list[Tensor]] = {}
    for bin_ in pack([t.size for t in trees], token_budget):
        packed = replace(collate([trees[i] for i in bin_]), drawn=drawn).to(device_of(model))
        with torch.no_grad():
            value = columns(model, packed, [name])[name].cpu()
        if name == "score":
            parts = list(value)
        else:
            lengths = torch.bincount(packed.sequence.cpu(), minlength=len(packed.last)).tolist()
            parts = list(torch.split(value, lengths))
        at = 0
        for i in bin_:
            k = len(trees[i].branches) or 1
            order[i] = parts[at : at + k]
            at += k
    return [order[i] for i in range(len(trees))]
