"""Log-probs of a model that is not trained, computed once and kept in the user's cache folder.

One file for each row that the model is run on. Its name is a hash of everything that the numbers depend on: the
weights, the row's tokens, how they are computed. So a hit is what would be computed, bit for bit, and whatever
changed is a miss. Any fault of the disk is a miss too.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import heedful
from heedful.data import cache as kept
from heedful.data.packing import pack
from heedful.engine import ranks
from heedful.engine.batch import Tree
from heedful.engine.checkpoint import weights_digest
from heedful.engine.kernels import library
from heedful.engine.score import sequence_columns

ROW = 16384
"""Tokens a row, as elsewhere where nothing is trained."""


def fixed_logp(
    model: Any, trees: Sequence[Tree], cache: Path | None, *, limit: int = kept.LIMIT
) -> list[list[Tensor]]:
    """The log-prob of every answer token, [tree][sequence] -> [n]; rows that `cache` holds are not computed.

    Processes that train together compute a part of the rows each.
    """
    sizes = [t.size for t in trees]
    folder = None if cache is None else cache / "reference"
    how = _how(model) if folder else b""
    bins = pack(sizes, max([ROW, *sizes]))
    values = [torch.zeros(sum(_lengths([trees[i] for i in bin_]))) for bin_ in bins]
    room = limit
    for number in ranks.share([sum(sizes[i] for i in bin_) for bin_ in bins]):
        row = [trees[i] for i in bins[number]]
        path = folder / f"{_key(how, row)}.safetensors" if folder else None
        flat = _read(path, sum(_lengths(row))) if path else None
        if flat is None:
            per_tree = sequence_columns(model, row, "logp", token_budget=sum(t.size for t in row))
            flat = torch.cat([logp for tree in per_tree for logp in tree]).float().cpu()
            room -= flat.nbytes
            if path and room > 0:
                kept.write(path, {"logp": flat.numpy()})
        values[number] = flat
    if folder and room < limit:
        kept.prune(folder, limit)
    places = [i for bin_ in bins for i in bin_]
    lengths = [_lengths([trees[i]]) for i in places]
    parts = iter(torch.split(ranks.total(torch.cat(values)), [n for each in lengths for n in each]))
    found = {i: [next(parts) for _ in each] for i, each in zip(places, lengths, strict=True)}
    return [found[i] for i in range(len(trees))]


def _lengths(row: Sequence[Tree]) -> list[int]:
    """How many tokens of each sequence have a log-prob."""
    return [int(node.trained.sum()) for tree in row for node in (tree.branches or (tree.prompt,))]


def _how(model: Any) -> bytes:
    """A hash of the model and of what else the last bit of its log-probs depends on."""
    whole = hashlib.sha256()
    device = next(model.parameters()).device.type
    for part in (
        heedful.__version__,
        torch.__version__,
        torch.get_num_threads(),
        library.in_use(),
        torch.backends.cpu.get_cpu_capability(),
        torch.cuda.get_device_name() if device == "cuda" else device,
        torch.get_float32_matmul_precision(),
        torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None,
        model.config.to_json_string(),
        weights_digest(model),
    ):
        whole.update(f"{part}\0".encode())
    return whole.digest()


def _key(how: bytes, row: Sequence[Tree]) -> str:
    whole = hashlib.sha256(how)
    for tree in row:
        whole.update(f"{len(tree.branches)}\0".encode())
        for node in (tree.prompt, *tree.branches):
            whole.update(f"{len(node.ids)}\0".encode())
            whole.update(node.ids.tobytes())
            whole.update(node.trained.tobytes())
    return whole.hexdigest()


def _read(path: Path, length: int) -> Tensor | None:
    """What lies at `path`, if it is whole and of this length."""
    values = (kept.read(path) or {}).get("logp")
    return None if values is None or values.shape != (length,) else torch.from_numpy(values)
