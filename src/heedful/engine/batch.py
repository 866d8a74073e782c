"""Token sequences as trees (a prompt and its answers) and their packing into one row.

`Tree` is what data and rollouts produce; `Packed` is what a model is called on: one row of tokens, the rows
that predict trained tokens, and the columns that travel with them.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heedful.data.packing import pack
from heedful.engine.layout import Layout
from heedful.engine.sampling import Sampling
from heedful.errors import UserError
from heedful.losses.bind import Unit

Ids = NDArray[np.int64]
Flags = NDArray[np.bool_]
Column = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Node:
    """A run of tokens: `trained` marks those that are predicted; `columns` hold one value (or row of values) per
    trained token. Tokens in `unseen` are not attended to, by themselves or by later ones.
    """

    ids: Ids
    trained: Flags
    columns: Mapping[str, Column] = field(default_factory=dict)
    unseen: Flags | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Which of a tree's sequences was chosen and which rejected; weight multiplies the pair's loss.

    `strength` says how much better the chosen one is, `probability` how sure it is that it is better.
    """

    chosen: int
    rejected: int
    weight: float = 1.0
    strength: float = 1.0
    probability: float = 1.0


@dataclass(frozen=True, slots=True)
class Tree:
    """A prompt and the branches that continue it; without branches the prompt itself is the sequence.

    `labels` are columns with one value per sequence, such as `rating`, `rank` (0 is best) or `label`.
    """

    prompt: Node
    branches: tuple[Node, ...] = ()
    pairs: tuple[Pair, ...] = ()
    weight: float = 1.0
    labels: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def sequences(self) -> int:
        return len(self.branches) or 1

    @property
    def size(self) -> int:
        return len(self.prompt.ids) + sum(len(b.ids) for b in self.branches)


def plain(
    ids: Sequence[int] | Ids, trained: Sequence[bool] | Flags | None = None, weight: float = 1.0
) -> Tree:
    """A tree of one sequence. Without `trained` every token but the first is predicted."""
    array = np.asarray(ids, dtype=np.int64)
    flags = np.ones(len(array), dtype=bool) if trained is None else np.asarray(trained, dtype=bool).copy()
    flags[:1] = False  # nothing stands before it
    return Tree(Node(array, flags), weight=weight)


def prompt_node(ids: Sequence[int] | Ids) -> Node:
    """A node of which nothing is trained."""
    array = np.asarray(ids, dtype=np.int64)
    return Node(array, np.zeros(len(array), dtype=bool))


def answer_node(ids: Sequence[int] | Ids, **columns: Column) -> Node:
    """A node of which every token is trained, with per-token columns."""
    array = np.asarray(ids, dtype=np.int64)
    return Node(array, np.ones(len(array), dtype=bool), columns)


@dataclass(slots=True)
class Packed:
    """One row of T tokens with N trained tokens in S sequences, P pairs and G groups (trees).

    ids, positions [T]; rows [N]: the position whose hidden state predicts target n; tokens [N]: where target n
    itself stands; targets [N]; sequence [N]: which sequence target n belongs to; last [S]: position of each
    sequence's last token; group [S]: which group each sequence belongs to; chosen, rejected [P]: sequence numbers;
    strength, probability [P]: of the preference; columns: name -> [N], [N, D] or [S]; weights: unit -> [N], [S], [P]
    or [G]; absent: unit -> the weight of what a loss is divided by though it is not in the row, since it is known to
    add nothing to the sum; unseen [T]: the tokens that nothing attends to, where there are any. `stream` says which
    terms of an objective are for this row; `drawn` how its answers were sampled, where their log-probs are those of
    that distribution and not the model's.
    """

    ids: Tensor
    positions: Tensor
    layout: Layout
    rows: Tensor
    tokens: Tensor
    targets: Tensor
    sequence: Tensor
    last: Tensor
    group: Tensor
    chosen: Tensor
    rejected: Tensor
    strength: Tensor
    probability: Tensor
    columns: dict[str, Tensor]
    weights: dict[Unit, Tensor]
    absent: dict[Unit, float] = field(default_factory=dict)
    stream: str = ""
    drawn: Sampling | None = None
    unseen: Tensor | None = None

    def present(self, unit: Unit) -> float:
        """The sum of weights of the tokens, sequences or pairs in the row: what a watched mean is divided by."""
        return float(self.weights[unit].sum())

    def count(self, unit: Unit) -> float:
        """The same with what is absent: what a loss is divided by."""
        return self.present(unit) + self.absent.get(unit, 0.0)

    def to(self, device: torch.device) -> "Packed":
        """The same row on another device. The layout stays: it is read by Python, not by the model."""
        parts: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name, value in parts.items():
            if isinstance(value, Tensor):
                parts[name] = value.to(device)
            elif name in ("columns", "weights"):
                parts[name] = {key: tensor.to(device) for key, tensor in value.items()}
        return Packed(**parts)


def collate(trees: Sequence[Tree]) -> Packed:
    """Lay trees end to end in one row."""
    layout = Layout([(len(t.prompt.ids), [len(b.ids) for b in t.branches]) for t in trees])
    ids, rows, tokens, targets, sequence, token_weight = [], [], [], [], [], []
    last: list[int] = []
    sequence_weight: list[float] = []
    columns: dict[str, list[Column]] = {}
    for tree, group in zip(trees, layout.groups, strict=True):
        ids.append(tree.prompt.ids)
        leaves = tree.branches or (tree.prompt,)
        spans = group.branches or (group.prompt,)
        if tree.branches and tree.prompt.trained.any():
            raise ValueError("the prompt of a tree with branches cannot be trained")
        for node, (start, end) in zip(leaves, spans, strict=True):
            where = np.flatnonzero(node.trained)
            before = start + where - 1
            if tree.branches:
                ids.append(node.ids)
                before[where == 0] = group.prompt[1] - 1
            elif len(where) and where[0] == 0:
                raise ValueError("the first token of a sequence has nothing before it to be predicted from")
            rows.append(before)
            tokens.append(start + where)
            targets.append(node.ids[where])
            sequence.append(np.full(len(where), len(last)))
            token_weight.append(np.full(len(where), tree.weight, dtype=np.float32))
            for name, values in node.columns.items():
                if len(values) != len(where):
                    raise ValueError(
                        f"column {name} has {len(values)} values for {len(where)} trained tokens"
                    )
                columns.setdefault(name, []).append(values)
            last.append(end - 1)
            sequence_weight.append(tree.weight)
    members = [tree.sequences for tree in trees]
    pairs = _pairs(trees)
    weights: dict[Unit, Tensor] = {
        "token": torch.from_numpy(np.concatenate(token_weight)),
        "sequence": torch.tensor(sequence_weight),
        "pair": torch.tensor([p.weight for p in pairs], dtype=torch.float32),
        "group": torch.tensor([t.weight for t in trees]),
    }
    return Packed(
        ids=torch.from_numpy(np.concatenate(ids)),
        positions=layout.positions,
        layout=layout,
        rows=torch.from_numpy(np.concatenate(rows)),
        tokens=torch.from_numpy(np.concatenate(tokens)),
        targets=torch.from_numpy(np.concatenate(targets)),
        sequence=torch.from_numpy(np.concatenate(sequence)),
        last=torch.tensor(last),
        group=torch.repeat_interleave(torch.arange(len(trees)), torch.tensor(members)),
        chosen=torch.tensor([p.chosen for p in pairs], dtype=torch.long),
        rejected=torch.tensor([p.rejected for p in pairs], dtype=torch.long),
        strength=torch.tensor([p.strength for p in pairs], dtype=torch.float32),
        probability=torch.tensor([p.probability for p in pairs], dtype=torch.float32),
        columns=_labels(trees)
        | {name: torch.from_numpy(np.concatenate(parts)).float() for name, parts in columns.items()},
        weights=weights,
        unseen=_unseen(trees),
    )


def _unseen(trees: Sequence[Tree]) -> Tensor | None:
    """Which tokens of the row nothing attends to; None where all are seen."""
    nodes = [node for tree in trees for node in (tree.prompt, *tree.branches)]
    if all(node.unseen is None for node in nodes):
        return None
    flags = [np.zeros(len(n.ids), dtype=bool) if n.unseen is None else n.unseen for n in nodes]
    return torch.from_numpy(np.concatenate(flags))


def _pairs(trees: Sequence[Tree]) -> list[Pair]:
    """The pairs of all trees, their sequences numbered through, weighed by their trees."""
    first = np.cumsum([0, *(tree.sequences for tree in trees)]).tolist()
    return [
        replace(p, chosen=start + p.chosen, rejected=start + p.rejected, weight=p.weight * tree.weight)
        for start, tree in zip(first, trees, strict=False)
        for p in tree.pairs
    ]


def _labels(trees: Sequence[Tree]) -> dict[str, Tensor]:
    """The labels of all trees, one value a sequence."""
    labels: dict[str, list[float]] = {}
    for tree in trees:
        for name, given in tree.labels.items():
            if len(given) != tree.sequences:
                raise ValueError(f"label {name} has {len(given)} values for {tree.sequences} sequences")
            labels.setdefault(name, []).extend(given)
    return {name: torch.tensor(values, dtype=torch.float32) for name, values in labels.items()}


def microbatches(trees: Sequence[Tree], token_budget: int) -> list[Packed]:
    """Pack trees into as few rows of at most `token_budget` tokens as fit; order does not change a step."""
    sizes = [t.size for t in trees]
    too_long = max(sizes, default=0)
    if too_long > token_budget:
        raise UserError(
            f"one example has {too_long} tokens but a micro-batch holds {token_budget}: "
            "raise token_budget or lower max_length"
        )
    return [collate([trees[i] for i in bin_]) for bin_ in pack(sizes, token_budget)]


def trained_tokens(trees: Iterable[Tree]) -> int:
    """How many tokens are trained on."""
    return sum(int(n.trained.sum()) for t in trees for n in (t.branches or (t.prompt,)))
