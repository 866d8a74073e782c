"""What the machine could do at most: matrix products, and the matrices of one decode step."""

import time
from collections.abc import Callable

import torch

from heedful.bench.models import SHAPES, Shape
from heedful.bench.peers.job import Clock, Job

SIZE = 2048
ROWS = 64
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def ceiling(job: Job, clock: Clock) -> None:
    """Floating-point operations a second of large products, and tokens a second of decoding by matrices alone."""
    for name, dtype in DTYPES.items():
        a, b = (torch.randn(SIZE, SIZE, dtype=dtype) for _ in range(2))
        clock.notes[f"{name}/flops"] = 2 * SIZE**3 / fastest(lambda a=a, b=b: a @ b)  # type: ignore[misc]
        for model, shape in SHAPES.items():
            clock.notes[f"{name}/decode/{model}"] = ROWS / fastest(decode(shape, dtype))


def decode(shape: Shape, dtype: torch.dtype) -> Callable[[], object]:
    """One step's products for 64 rows: every matrix of every layer and the head, nothing else."""
    h = shape.hidden
    matrices = [
        torch.randn(rows, columns, dtype=dtype)
        for rows, columns in [*[(h, h)] * 4, *[(h, shape.mlp)] * 2, (shape.mlp, h)] * shape.layers
    ]
    matrices.append(torch.randn(h, shape.vocabulary, dtype=dtype))
    inputs = {n: torch.randn(ROWS, n, dtype=dtype) for n in (h, shape.mlp)}
    return lambda: [inputs[len(m)] @ m for m in matrices]


def fastest(function: Callable[[], object], seconds: float = 0.4) -> float:
    """The shortest of many calls: a ceiling is what was reached once."""
    function()
    found, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until:
        began = time.perf_counter()
        function()
        found.append(time.perf_counter() - began)
    return min(found)
