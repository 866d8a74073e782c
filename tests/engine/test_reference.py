"""The cache of fixed log-probs: a hit is what would be computed, bit for bit; no fault of it reaches a run."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from heedful.engine import reference
from heedful.engine.batch import Tree, plain
from heedful.engine.head import linear_head
from heedful.engine.pairs import with_reference
from heedful.engine.reference import fixed_logp
from heedful.engine.score import sequence_columns, use_packed_attention

ROW = 40  # several rows from few trees


@pytest.fixture(autouse=True)
def short_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "ROW", ROW)


def made(seed: int = 0) -> Any:
    model = tiny.llama(seed=seed)
    use_packed_attention(model)
    linear_head(model)  # is tried once
    return model


def data(seed: int = 0) -> list[Tree]:
    return [*tiny.trees(seed), *tiny.trees(seed + 100), plain(range(3, 12))]


class Calls:
    """Counts the rows that the model is run on."""

    def __init__(self, model: Any) -> None:
        self.number = 0
        model.base_model.register_forward_hook(self)

    def __call__(self, *args: Any) -> None:
        self.number += 1


def flat(found: list[list[torch.Tensor]]) -> list[torch.Tensor]:
    return [values for tree in found for values in tree]


def same(a: list[list[torch.Tensor]], b: list[list[torch.Tensor]]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(flat(a), flat(b), strict=True))


def files(cache: Path) -> list[Path]:
    return sorted((cache / "reference").iterdir())


def test_a_hit_is_what_would_be_computed(tmp_path: Path) -> None:
    model, trees = made(), data()
    calls = Calls(model)
    expected = sequence_columns(model, trees, "logp", token_budget=ROW)
    rows, calls.number = calls.number, 0
    assert same(fixed_logp(model, trees, None), expected)
    assert same(fixed_logp(model, trees, tmp_path), expected)
    assert calls.number == 2 * rows > 4
    assert same(fixed_logp(model, trees, tmp_path), expected)
    assert same(fixed_logp(made(), trees, tmp_path), expected)  # another process, the same model
    assert calls.number == 2 * rows
    assert len(files(tmp_path)) == rows


def test_a_killed_computation_goes_on_where_it_was(tmp_path: Path) -> None:
    model, trees = made(), data()
    fixed_logp(model, trees, tmp_path)
    left = files(tmp_path)
    for path in left[1:]:
        path.rename(path.with_suffix(".partial"))  # never became a whole file
    calls = Calls(model)
    assert same(fixed_logp(model, trees, tmp_path), fixed_logp(made(), trees, None))
    assert calls.number == len(left) - 1


def test_whatever_the_numbers_depend_on_is_a_miss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = data()[0]
    first, second = tree.branches

    def misses(model: Any, trees: list[Tree]) -> bool:
        calls = Calls(model)
        found = fixed_logp(model, trees, tmp_path)
        assert same(found, sequence_columns(model, trees, "logp"))
        return calls.number == 2

    other_id = replace(first, ids=first.ids + 1)
    untrained = replace(first, trained=first.trained & False, columns={})
    moved = made()
    with torch.no_grad():
        moved.model.layers[1].mlp.up_proj.weight[0, 0] += 1e-6
    turned = made()
    turned.config.rope_parameters = {"rope_type": "default", "rope_theta": 5.0}
    for model, changed in (
        (made(), tree),
        (made(), replace(tree, branches=(other_id, second))),
        (made(), replace(tree, branches=(second, first))),
        (made(), replace(tree, branches=(first,))),
        (made(), replace(tree, branches=(untrained, second))),
        (made(seed=1), tree),
        (moved, tree),
        (turned, tree),
    ):
        assert misses(model, [changed])
        assert not misses(model, [changed])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert misses(made(), [tree])


@pytest.mark.parametrize("fault", ["empty", "cut", "flipped", "another's", "folder"])
def test_a_damaged_file_is_computed_anew_and_mended(tmp_path: Path, fault: str) -> None:
    model, trees = made(), data()
    expected = fixed_logp(model, trees, tmp_path)
    victim, other, *_ = files(tmp_path)
    content = victim.read_bytes()
    damaged = {
        "empty": b"",
        "cut": content[:-3],
        "flipped": content[:-3] + bytes([content[-3] ^ 1]) + content[-2:],
        "another's": other.read_bytes(),
    }
    victim.unlink()
    if fault == "folder":
        victim.mkdir()
    else:
        victim.write_bytes(damaged[fault])
    assert same(fixed_logp(model, trees, tmp_path), expected)
    assert fault == "folder" or victim.read_bytes() == content


def test_a_place_that_cannot_be_written_is_no_fault(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert same(fixed_logp(made(), data(), blocked), fixed_logp(made(), data(), None))
    assert blocked.read_text() == "not a folder"


def test_the_oldest_make_room(tmp_path: Path) -> None:
    model, trees = made(), data()
    fixed_logp(model, trees, tmp_path)
    for age, path in enumerate(files(tmp_path)):
        os.utime(path, (1000 - age, 1000 - age))
    kept = sum(p.stat().st_size for p in files(tmp_path))
    fixed_logp(model, data()[:1], tmp_path, limit=kept)  # a new row needs room
    now = files(tmp_path)
    assert sum(p.stat().st_size for p in now) <= kept
    assert max(p.stat().st_mtime for p in now) > 2000  # the new one stays
    fixed_logp(model, data(5), tmp_path, limit=1)
    assert not files(tmp_path)


def test_trees_get_the_same_columns_with_and_without(tmp_path: Path) -> None:
    for cache in (tmp_path, tmp_path, None):
        trees = with_reference(made(), tiny.trees(), cache=cache)
        expected = flat(sequence_columns(made(), tiny.trees(), "logp", token_budget=ROW))
        found = [torch.from_numpy(b.columns["ref_logp"]) for t in trees for b in t.branches]
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
