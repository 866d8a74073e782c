"""Several processes that train one model on the same data (data parallelism), under torchrun or `launch`.

Each computes its share of every step's trees; gradients, losses and counts are summed, so that all take the step that
one process would take alone. Without torchrun's environment there is one process, and nothing here does anything.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from heedful.data.packing import balanced
from heedful.errors import UserError

PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others."""

BUCKET = 2**24
"""Numbers that are summed at once: 64 MB."""

_NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")

T = TypeVar("T")


class Released(SystemExit):
    """Training is done: the first process goes on alone, this one has come to its good end."""


class _Group:
    """What this process knows of the others."""

    store: Any = None
    told = 0


def announced() -> int:
    """How many processes torchrun says there are."""
    size = os.environ.get("WORLD_SIZE", "1")
    if not size.isdigit() or int(size) < 1:
        raise UserError(f"WORLD_SIZE={size} is no number of processes: unset it, or start with torchrun")
    return int(size)


def join() -> None:
    """Meet the other processes that torchrun has started.

    With HEEDFUL_DEVICE=cuda each of a machine's processes takes a GPU of its own.
    """
    if missing := [name for name in _NEEDED if not os.environ.get(name)]:
        raise UserError(
            f"WORLD_SIZE={announced()} is set but not {', '.join(missing)}: start with `heedful --processes "
            f"{announced()} ...` or torchrun, or unset WORLD_SIZE"
        )
    if os.environ.get("HEEDFUL_DEVICE") == "cuda":
        here = int(os.environ.get("LOCAL_RANK", "0"))
        if here >= torch.cuda.device_count():
            raise UserError(
                f"this machine has {torch.cuda.device_count()} GPUs for {here + 1} processes or more: start fewer"
            )
        torch.cuda.set_device(here)
        os.environ["HEEDFUL_DEVICE"] = f"cuda:{here}"
    try:
        store, rank, world = next(rendezvous("env://", timeout=PATIENCE))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise UserError(f"the processes did not meet at {where}: {_short(error)}") from error
    _Group.store, _Group.told = store, 0


def leave() -> None:
    """Training is done: the first process is alone from here on, and all others end."""
    if not several():
        return
    first_one = first()
    dist.destroy_process_group()
    if not first_one:
        raise Released


def size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def several() -> bool:
    return size() > 1


def first() -> bool:
    """Whether this is the process that writes, logs and evaluates."""
    return not several() or dist.get_rank() == 0


def on_this_machine() -> int:
    """How many of them share this machine's cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if several() else 1


def share(costs: Sequence[int]) -> list[int]:
    """Which of the items with these costs this process computes, in their order: about the same sum for each."""
    if not several():
        return list(range(len(costs)))
    return sorted(balanced(costs, size())[dist.get_rank()])


def total(values: Tensor) -> Tensor:
    """The sum over all processes, the same bits in each; in place."""
    if several():
        with _others():
            dist.all_reduce(values)
    return values


def totals(values: Sequence[float]) -> list[float]:
    """The sum of each number over all processes, in fp64."""
    if not several():
        return list(values)
    found: list[float] = total(torch.tensor(values, dtype=torch.float64)).tolist()
    return found


def add_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every parameter the sum of its gradients over all processes: in fp32, as masters are.

    One that got no gradient anywhere keeps none, as in a single process.
    """
    if not several():
        return
    trained = list(parameters)
    have = totals([float(p.grad is not None) for p in trained])
    for bucket in _buckets([p for p, there in zip(trained, have, strict=True) if there]):
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
        flat = total(torch.cat([g.flatten() for g in parts]))
        for p, values in zip(bucket, torch.split(flat, [p.numel() for p in bucket]), strict=True):
            p.grad = values.view_as(p).clone()


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Neighbours on one device, of about BUCKET numbers together."""
    bucket: list[nn.Parameter] = []
    for p in parameters:
        if bucket and (sum(b.numel() for b in bucket) >= BUCKET or bucket[0].device != p.device):
            yield bucket
            bucket = []
        bucket.append(p)
    if bucket:
        yield bucket


def decided(find: Callable[[], T]) -> T:
    """What the first process finds, for all of them; it has to be JSON."""
    if not several():
        return find()
    _Group.told += 1
    key = f"heedful/{_Group.told}"
    with _others():
        if not first():
            found: T = json.loads(_Group.store.get(key))
            return found
    found = find()
    with _others():
        _Group.store.set(key, json.dumps(found))
    return found


def agree(what: str, value: Any) -> None:
    """Raise UserError where `value` is not the same in all processes."""
    if value != decided(lambda: value):
        raise UserError(
            f"process {dist.get_rank()} of {size()} has other {what} than the first: give all of them the same "
            "command, files and version"
        )
    totals([0.0])  # nobody goes on before all have looked


def first_to_speak() -> bool:
    """Whether no other process has said yet why the run ends: one sentence is enough."""
    if _Group.store is None:
        return True
    try:
        return int(_Group.store.add("heedful/spoken", 1)) == 1
    except RuntimeError:  # it ended with the process that held it
        return True


@contextmanager
def _others() -> Iterator[None]:
    """What goes wrong in here is that another process is not there any more."""
    try:
        yield
    except RuntimeError as error:
        raise UserError(
            f"another of the {size()} processes has ended, and so does this one ({_short(error)}); the same command "
            "continues"
        ) from error


def _short(error: Exception) -> str:
    """The first line of what torch says, without the place in its sources."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"^\[[^]]*\] ", "", line)[:160]
