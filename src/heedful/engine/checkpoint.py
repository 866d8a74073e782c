"""Checkpoints that survive: written whole, verified by hash, found again after any death.

`checkpoint-N/` holds safetensors, `state.json` and `manifest.json` (SHA-256 of each file, and what the run
was made from). A folder under a temporary name is never read; a damaged one, or one of another run, is passed
over for the one before.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from heedful.data import atomic
from heedful.engine.optim import Stepping

SCHEMA = 1
_NAME = re.compile(r"checkpoint-(\d+)")
_LEFT_OVER = re.compile(r"(partial|old)-checkpoint-\d+")
_FILES = {"model.safetensors", "optimizer.safetensors", "state.json"}


@dataclass(frozen=True)
class Checkpoint:
    """The state after `step` optimiser steps: tensors by group, and a JSON state."""

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]

    def restore(self, model: nn.Module, optimizer: Stepping) -> None:
        """Put weights and optimiser state back in place."""
        own = dict(model.named_parameters())
        with torch.no_grad():
            for name, value in self.tensors["model"].items():
                own[name].copy_(value)
        optimizer.load_state(dict(self.tensors["optimizer"]))


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of all weights, their names, types and shapes."""
    whole = hashlib.sha256()
    for name, value in model.state_dict().items():
        whole.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        bits: Any = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        whole.update(bits)
    return whole.hexdigest()


def save(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: Stepping,
    state: Mapping[str, Any],
    *,
    identity: str = "",
    keep: int = 2,
) -> None:
    """Write `folder`/checkpoint-<step> and then remove all older ones but the newest `keep` - 1.

    `identity` says what the run was made from; only a run of the same identity continues from here.
    """
    with atomic.new_folder(folder / f"checkpoint-{step}") as partial:
        save_file(
            {n: p.detach().contiguous() for n, p in model.named_parameters()}, partial / "model.safetensors"
        )
        save_file(
            {n: t.contiguous() for n, t in optimizer.state().items()}, partial / "optimizer.safetensors"
        )
        (partial / "state.json").write_text(json.dumps({"step": step, "state": dict(state)}))
        files = {name: digest(partial / name) for name in sorted(_FILES)}
        manifest = {"schema": SCHEMA, "identity": identity, "files": files}
        (partial / "manifest.json").write_text(json.dumps(manifest))
    older = [path for number, path in _found(folder) if number < step]
    for path in older[keep - 1 :]:
        _remove(path)


def latest(folder: Path, *, identity: str = "") -> Checkpoint | None:
    """The newest checkpoint of this `identity` in `folder` whose files are whole, or None."""
    for _, candidate in _found(folder):
        if _whole(candidate, identity):
            state = json.loads((candidate / "state.json").read_text())
            tensors = {name: load_file(candidate / f"{name}.safetensors") for name in ("model", "optimizer")}
            return Checkpoint(state["step"], tensors, state["state"])
    return None


def exist(folder: Path) -> bool:
    """Whether there is any checkpoint, whole or not."""
    return bool(_found(folder))


def discard(folder: Path) -> None:
    """Remove all checkpoints, and what deaths left of some."""
    for _, path in _found(folder):
        _remove(path)
    for path in folder.glob("*-checkpoint-*"):
        if _LEFT_OVER.fullmatch(path.name):
            shutil.rmtree(path)


def _remove(path: Path) -> None:
    """Remove a checkpoint; if it is killed meanwhile, what is left has a name that tells it from a stranger."""
    doomed = path.with_name(f"old-{path.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed)


def _found(folder: Path) -> list[tuple[int, Path]]:
    """Our checkpoint folders with their steps, newest first; a stranger has no manifest."""
    named = [(_NAME.fullmatch(path.parent.name), path.parent) for path in folder.glob("*/manifest.json")]
    return sorted(((int(m[1]), path) for m, path in named if m), reverse=True)


def _whole(candidate: Path, identity: str) -> bool:
    try:
        manifest = json.loads((candidate / "manifest.json").read_text())
        files = manifest["files"]
        return bool(
            manifest["schema"] == SCHEMA
            and manifest["identity"] == identity
            and files.keys() == _FILES
            and all(digest(candidate / name) == value for name, value in files.items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
