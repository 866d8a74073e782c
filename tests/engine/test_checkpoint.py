"""Checkpoints: what was saved comes back bit for bit, and nothing that dies or rots takes the older ones along."""

import errno
import json
import os
import random
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tiny
from faults import lives
from heedful.engine import checkpoint
from heedful.engine.batch import microbatches
from heedful.engine.checkpoint import Checkpoint
from heedful.engine.fit import Step, fit
from heedful.engine.optim import Optimizer
from heedful.losses.supervised import next_token

FILES = ("manifest.json", "model.safetensors", "optimizer.safetensors", "state.json")
BATCHES = [microbatches(tiny.trees(seed), 256) for seed in range(8)]
RUN = "what the run was made from"


def fresh(name: Any = "adamw") -> tuple[nn.Module, Optimizer]:
    model = tiny.llama()
    return model, Optimizer(model, name=name, learning_rate=0.01, weight_decay=0.1)


def trained(model: nn.Module, optimizer: Optimizer, start: int, stop: int) -> list[Step]:
    return list(fit(model, BATCHES[start:stop], next_token, optimizer, start=start))


def state_of(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **optimizer.state()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def resumed(folder: Path, name: Any = "adamw") -> tuple[nn.Module, Optimizer, Checkpoint]:
    model, optimizer = fresh(name)
    trained(model, optimizer, 6, 8)  # a state that has to be replaced, not only filled in
    found = checkpoint.latest(folder, identity=RUN)
    assert found is not None
    found.restore(model, optimizer)
    return model, optimizer, found


def saved_at(folder: Path, *steps: int) -> None:
    """Checkpoints whose weights tell their step apart."""
    model, optimizer = nn.Linear(2, 3), None
    optimizer = Optimizer(model, learning_rate=0.1)
    for step in steps:
        with torch.no_grad():
            model.weight.fill_(float(step))
        checkpoint.save(folder, step, model, optimizer, {"number": step}, identity=RUN, keep=3)


def newest(folder: Path, identity: str = RUN) -> int | None:
    """The step of the checkpoint that is found, after a look that it is the one that was saved."""
    found = checkpoint.latest(folder, identity=identity)
    if found is None:
        return None
    assert found.state == {"number": found.step}
    assert torch.equal(found.tensors["model"]["weight"], torch.full((3, 2), float(found.step)))
    return found.step


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_round_trip_gives_back_every_bit(tmp_path: Path, name: str) -> None:
    model, optimizer = fresh(name)
    trained(model, optimizer, 0, 3)
    before = {k: v.detach().clone() for k, v in state_of(model, optimizer).items()}
    state = {"kl_coef": 0.1 + 0.2, "large": 2**53, "text": "愿闻其详"}
    checkpoint.save(tmp_path, 3, model, optimizer, state, identity=RUN)
    again, optimizer_again, found = resumed(tmp_path, name)
    assert found.step == 3
    assert found.state == state
    assert equal(state_of(again, optimizer_again), before)


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("stop", [1, 4])
def test_training_continued_from_a_checkpoint_was_never_stopped(tmp_path: Path, name: str, stop: int) -> None:
    model, optimizer = fresh(name)
    whole = trained(model, optimizer, 0, 6)
    half, optimizer_half = fresh(name)
    first = trained(half, optimizer_half, 0, stop)
    checkpoint.save(tmp_path, stop, half, optimizer_half, {}, identity=RUN)
    again, optimizer_again, _ = resumed(tmp_path, name)
    second = trained(again, optimizer_again, stop, 6)
    assert equal(state_of(again, optimizer_again), state_of(model, optimizer))
    assert [(s.number, s.loss, s.grad_norm) for s in first + second] == [
        (s.number, s.loss, s.grad_norm) for s in whole
    ]


def test_without_the_optimizer_state_training_would_differ(tmp_path: Path) -> None:
    model, optimizer = fresh()
    trained(model, optimizer, 0, 3)
    checkpoint.save(tmp_path, 3, model, optimizer, {}, identity=RUN)
    trained(model, optimizer, 3, 6)
    forgetful, optimizer_again = fresh()
    found = checkpoint.latest(tmp_path, identity=RUN)
    assert found is not None
    Checkpoint(3, {**found.tensors, "optimizer": {}}, {}).restore(forgetful, optimizer_again)
    trained(forgetful, optimizer_again, 3, 6)
    assert not equal(dict(forgetful.named_parameters()), dict(model.named_parameters()))


def test_the_newest_is_taken_and_old_ones_go(tmp_path: Path) -> None:
    saved_at(tmp_path, 9, 10, 11, 100)
    assert newest(tmp_path) == 100
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-100", "checkpoint-11"]


def test_a_checkpoint_of_another_run_is_not_taken(tmp_path: Path) -> None:
    saved_at(tmp_path, 1)
    assert newest(tmp_path, identity="another run") is None
    assert newest(tmp_path) == 1


@pytest.mark.parametrize("file", FILES)
def test_a_truncated_file_makes_the_one_before_count(tmp_path: Path, file: str) -> None:
    saved_at(tmp_path, 1, 2)
    damaged = tmp_path / "checkpoint-2" / file
    whole = damaged.read_bytes()
    for length in {0, 1, len(whole) // 2, len(whole) - 1}:
        damaged.write_bytes(whole[:length])
        assert newest(tmp_path) == 1, length
    damaged.unlink()
    assert newest(tmp_path) == 1
    damaged.write_bytes(whole)
    assert newest(tmp_path) == 2


@pytest.mark.parametrize("file", FILES)
def test_a_flipped_bit_makes_the_one_before_count(tmp_path: Path, file: str) -> None:
    saved_at(tmp_path, 1, 2)
    damaged = tmp_path / "checkpoint-2" / file
    whole = damaged.read_bytes()
    draw = random.Random(0)
    for position in {0, len(whole) - 1, *draw.sample(range(len(whole)), min(len(whole), 150))}:
        flipped = bytearray(whole)
        flipped[position] ^= 1 << draw.randrange(8)
        damaged.write_bytes(flipped)
        assert newest(tmp_path) == 1, position


def test_when_all_are_damaged_there_is_none(tmp_path: Path) -> None:
    saved_at(tmp_path, 1, 2, 3)
    for file in tmp_path.glob("*/model.safetensors"):
        file.write_bytes(b"")
    assert newest(tmp_path) is None


def test_strangers_are_neither_read_nor_removed(tmp_path: Path) -> None:
    ours = [
        "partial-checkpoint-99",
        "old-checkpoint-98",
    ]  # left over by deaths: not read, removed with the rest
    strangers = ["97", "checkpoint-", "checkpoint-96x", "my-checkpoint-93"]
    saved_at(tmp_path / "other", 5)
    for name in ours + strangers:
        (tmp_path / "other" / "checkpoint-5").rename(tmp_path / name)
        saved_at(tmp_path / "other", 5)
    (tmp_path / "checkpoint-95").mkdir()
    (tmp_path / "checkpoint-94").write_text("a file")
    saved_at(tmp_path, 1, 2, 3, 4)
    assert newest(tmp_path) == 4
    checkpoint.discard(tmp_path)
    assert newest(tmp_path) is None
    kept = {p.name for p in tmp_path.iterdir()}
    assert kept == {*strangers, "other", "checkpoint-95", "checkpoint-94"}


def test_damaged_newer_ones_do_not_push_out_the_one_just_saved(tmp_path: Path) -> None:
    model = nn.Linear(2, 3)
    for step in (10, 20, 30):
        checkpoint.save(tmp_path, step, model, Optimizer(model, learning_rate=0.1), {}, keep=3)
    for step in (20, 30):
        (tmp_path / f"checkpoint-{step}" / "state.json").write_text("")
    for step in (11, 12):
        checkpoint.save(tmp_path, step, model, Optimizer(model, learning_rate=0.1), {}, keep=1)
        found = checkpoint.latest(tmp_path)
        assert found is not None
        assert found.step == step


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    saved_at(tmp_path, 1, 2)
    (tmp_path / "checkpoint-2" / "model.safetensors").write_bytes(b"rotten")
    assert newest(tmp_path) == 1
    saved_at(tmp_path, 2)
    assert newest(tmp_path) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-1", "checkpoint-2"]


def test_a_saver_killed_at_any_write_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    """Steps 1 and 2 are there; the process that saves 2 (again) and 3 is killed before each thing it does."""
    deaths = 0
    while True:
        folder = tmp_path / str(deaths)
        saved_at(folder, 1, 2)
        ended = lives.killed_at_write(deaths + 1, saved_at, folder, 2, 3)
        found = newest(folder)
        if ended == 0:
            break
        assert ended == lives.KILLED
        assert found in (1, 2, 3)
        saved_at(folder, 5)
        assert newest(folder) == 5
        deaths += 1
    assert found == 3
    assert deaths > 20  # two saves of four files: mkdirs, openings, syncs, renames, removals


def no_space_in_rust(*args: Any, **kwargs: Any) -> None:
    """What safetensors raises when a disk is full."""
    raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")


def no_space(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("owner", "name", "fault"),
    [(checkpoint, "save_file", no_space_in_rust), (Path, "write_text", no_space), (os, "fsync", no_space)],
)
def test_a_full_disk_is_the_systems_error_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, fault: Callable[..., None]
) -> None:
    saved_at(tmp_path, 1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fault)
        with pytest.raises(OSError, match="No space left on device") as caught:
            saved_at(tmp_path, 3)
    assert caught.value.errno == errno.ENOSPC
    assert newest(tmp_path) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-1", "checkpoint-2"]


def save_beyond_the_limit(folder: Path) -> None:
    """Save under a limit on the size of files, a real fault of the system; write down what it looked like."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    model = nn.Linear(300, 300)
    try:
        checkpoint.save(folder, 3, model, Optimizer(model, learning_rate=0.1), {}, identity=RUN)
    except OSError as error:
        (folder / "seen.json").write_text(json.dumps([error.errno, error.filename]))


def test_a_write_that_the_system_refuses_is_the_systems_error(tmp_path: Path) -> None:
    saved_at(tmp_path, 1, 2)
    assert lives.live(save_beyond_the_limit, tmp_path) == 0
    assert json.loads((tmp_path / "seen.json").read_text()) == [
        errno.EFBIG,
        str(tmp_path / "checkpoint-3"),
    ]
    assert newest(tmp_path) == 2
