"""How a quantity becomes the column that a loss names: by token, sequence, pair or prompt."""

import numpy as np
import pytest
import torch
from torch import Tensor

import tiny
from heedful.engine.batch import Pair, Tree, answer_node, collate, microbatches, prompt_node
from heedful.engine.fit import Term, fit
from heedful.engine.optim import Optimizer
from heedful.engine.score import columns, use_packed_attention
from heedful.losses import bind


def judged(seed: int = 0) -> list[Tree]:
    """Prompts with two, one and three answers; ranks, ratings and a pair with strength."""
    shapes = ((4, (3, 5)), (2, (6,)), (5, (2, 4, 3)))
    trees = tiny.trees(seed, shapes)
    labels = [
        {"rank": [0.0, 1.0], "rating": [7.0, 3.0]},
        {"rank": [0.0], "rating": [4.0]},
        {"rank": [1.0, 0.0, 2.0], "rating": [2.0, 6.0, 1.0]},
    ]
    pairs = ((Pair(0, 1, strength=3.0, probability=0.9),), (), (Pair(1, 0), Pair(1, 2, strength=2.0)))
    return [
        Tree(t.prompt, t.branches, p, labels=found) for t, p, found in zip(trees, pairs, labels, strict=True)
    ]


def test_labels_and_pairs_stand_where_their_sequences_do() -> None:
    packed = collate(judged())
    assert packed.columns["rating"].tolist() == [7, 3, 4, 2, 6, 1]
    assert packed.group.tolist() == [0, 0, 1, 2, 2, 2]
    assert packed.strength.tolist() == [3, 1, 2]
    assert packed.probability.tolist() == pytest.approx([0.9, 1, 1])
    assert packed.chosen.tolist() == [0, 4, 4]
    assert packed.rejected.tolist() == [1, 3, 5]


def test_sums_by_sequence_pair_and_prompt_agree() -> None:
    model, packed = tiny.llama(), collate(judged())
    use_packed_attention(model)
    names = [
        "logp",
        "sequence_logp",
        "chosen_logp",
        "listed_logp",
        "listed_present",
        "length",
        "chosen_rating",
    ]
    found = columns(model, packed, names)
    sums = [part.sum() for part in torch.split(found["logp"], [3, 5, 6, 2, 4, 3])]
    torch.testing.assert_close(found["sequence_logp"], torch.stack(sums))
    torch.testing.assert_close(found["chosen_logp"], torch.stack([sums[0], sums[4], sums[4]]))
    assert found["listed_present"].tolist() == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]
    expected = torch.zeros(3, 3).masked_scatter(found["listed_present"].bool(), torch.stack(sums))
    torch.testing.assert_close(found["listed_logp"], expected)
    assert found["length"].tolist() == [3, 5, 6, 2, 4, 3]
    assert found["chosen_rating"].tolist() == [7, 6, 6]


def rank_gap(listed_logp: Tensor, listed_rank: Tensor, listed_present: Tensor) -> Tensor:
    """A loss of the answers of one prompt side by side."""
    return (listed_logp * listed_rank * listed_present).sum(1)


def likelihood(sequence_logp: Tensor, length: Tensor, rating: Tensor) -> Tensor:
    """A loss of whole sequences."""
    return -(rating * sequence_logp / length)


def hinge(chosen_logp: Tensor, rejected_logp: Tensor, strength: Tensor) -> Tensor:
    """A loss of pairs that names what is known of a pair."""
    return torch.relu(strength - chosen_logp + rejected_logp)


@pytest.mark.parametrize(
    ("loss", "unit"), [(rank_gap, "group"), (likelihood, "sequence"), (hinge, "pair")], ids=lambda v: str(v)
)
def test_any_split_gives_the_same_step(loss: bind.Loss, unit: str) -> None:
    assert bind.unit(loss) == unit
    steps = []
    for budget in (18, 1000):
        model = tiny.llama()
        optimizer = Optimizer(model, learning_rate=1e-2, eps=1e-2)
        batch = microbatches(judged(), budget)
        step = next(fit(model, [batch], [Term(loss)], optimizer, max_grad_norm=1e9))
        steps.append((len(batch), step.loss, step.grad_norm))
    assert steps[0][0] > steps[1][0]
    assert steps[0][1:] == pytest.approx(steps[1][1:], rel=1e-5)


def test_labels_that_do_not_fit_are_refused() -> None:
    ids = np.arange(3)
    tree = Tree(prompt_node(ids), (answer_node(ids),), labels={"rating": [1.0, 2.0]})
    with pytest.raises(ValueError, match="2 values for 1 sequences"):
        collate([tree])


def test_a_loss_that_names_what_the_batch_lacks_says_so() -> None:
    model = tiny.llama()
    use_packed_attention(model)
    with pytest.raises(KeyError, match="'rating'"):
        columns(model, collate(tiny.trees()), ["rating"])
