"""Checkpoints that survive: written whole, verified by hash, found again after any death.

`checkpoint-N/` holds safetensors, `state.json` and `manifest.json` (SHA-256 of each file). A folder under a
temporary name is never read; a damaged one is passed over for the one before.
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
from heedful.engine.optim import Optimizer

SCHEMA = 1
_NAME = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class Checkpoint:
    """The state after `step` optimiser steps: tensors by group, and a JSON state."""

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]

    def restore(self, model: nn.Module, optimizer: Optimizer) -> None:
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


def save(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: Optimizer,
    state: Mapping[str, Any],
    *,
    keep: int = 2,
) -> None:
    """Write `folder`/checkpoint-<step> and then remove all but the newest `keep`."""
    with atomic.new_folder(folder / f"checkpoint-{step}") as partial:
        save_file(
            {n: p.detach().contiguous() for n, p in model.named_parameters()}, partial / "model.safetensors"
        )
        save_file(
            {n: t.contiguous() for n, t in optimizer.state().items()}, partial / "optimizer.safetensors"
        )
        (partial / "state.json").write_text(json.dumps({"step": step, "state": dict(state)}))
        files = {p.name: digest(p) for p in sorted(partial.iterdir())}
        (partial / "manifest.json").write_text(json.dumps({"schema": SCHEMA, "files": files}))
    for old in _found(folder)[keep:]:
        shutil.rmtree(old)


def latest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint in `folder` whose files are whole, or None."""
    for candidate in _found(folder):
        if _whole(candidate):
            state = json.loads((candidate / "state.json").read_text())
            tensors = {name: load_file(candidate / f"{name}.safetensors") for name in ("model", "optimizer")}
            return Checkpoint(state["step"], tensors, state["state"])
    return None


def _found(folder: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    named = [(m, p) for p in folder.glob("checkpoint-*") if (m := _NAME.fullmatch(p.name))]
    return [p for m, p in sorted(named, key=lambda pair: -int(pair[0][1]))]


def _whole(candidate: Path) -> bool:
    try:
        manifest = json.loads((candidate / "manifest.json").read_text())
        return manifest["schema"] == SCHEMA and all(
            digest(candidate / name) == value for name, value in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False
