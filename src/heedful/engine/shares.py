"""A step's trees in equal shares for processes that take the step together."""

from collections.abc import Sequence

from heedful.data.packing import balanced, pack
from heedful.engine.batch import Packed, Tree, collate
from heedful.errors import UserError


def cost(tree: Tree, hidden_size: int) -> int:
    """The work of a training step on a tree, in tokens: its tokens, and what they see of one another.

    A layer needs about 24 d^2 operations a token outside attention and 4 d for every token that one attends to
    (d = `hidden_size`), so 6 d of these weigh as much as a token.
    """
    prompt = len(tree.prompt.ids)
    seen = prompt * (prompt + 1) // 2
    for branch in tree.branches:
        n = len(branch.ids)
        seen += n * prompt + n * (n + 1) // 2
    return tree.size + seen // (6 * hidden_size)


def shares(trees: Sequence[Tree], token_budget: int, parts: int, *, hidden_size: int) -> list[list[Packed]]:
    """Micro-batches of at most `token_budget` tokens, [round][part], of about equal cost within every round.

    Every part has a micro-batch in every round, since processes that share a model wait for one another in each.
    Their gradients add up to the step's, if each is divided by the count of all (`Packed.count`).
    """
    sizes = [tree.size for tree in trees]
    costs = [cost(tree, hidden_size) for tree in trees]
    rounds = -(-len(pack(sizes, token_budget)) // parts)
    while rounds * parts <= len(trees):
        bins = balanced(costs, rounds * parts)
        if all(sum(sizes[i] for i in bin_) <= token_budget for bin_ in bins):
            bins.sort(key=lambda bin_: -sum(costs[i] for i in bin_))
            rows = [collate([trees[i] for i in bin_]) for bin_ in bins]
            # Who has the costliest row of one round has the cheapest of the next.
            return [rows[r * parts : (r + 1) * parts][:: 1 if r % 2 == 0 else -1] for r in range(rounds)]
        rounds += 1
    raise UserError(
        f"a step of {len(trees)} examples cannot be shared by {parts} processes in rows of {token_budget} tokens: "
        "take more examples a step, or raise token_budget"
    )
