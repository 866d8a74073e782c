"""Compile every kernel of heedful.engine.kernels.gpu for one kind of GPU: `... 90` for Hopper.

Prints each one's name and the bytes of shared memory that a program of it takes.
"""

import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from heedful.engine.kernels.gpu import decode, rows, tree

INSIDE = {"_read", "_see", "_capped", "_seen", "_scores", "_rows", "_slope"}  # called by the others
SIZES = {"BLOCK": 1024, "ROWS": 64, "QUERIES": 16, "KEYS": 32}
FLAGS = ("SHIFT", "BACK", "ENTROPY", "CAPPED", "SINKS")
FP32 = {"inverse", "dw", "logsum", "logp", "entropy", "of_logp", "of_entropy", "sinks", "deltas"}
INT64 = {"target", "slots", "samples", "writtens", "prompt_lengths"}
TENSORS = {
    *("x", "w", "y", "dy", "dx", "gate", "up", "dgate", "dup", "cos", "sin", "out", "z", "q", "k", "v"),
    *("prompt_k", "prompt_v", "answer_k", "answer_v", "grad", "dq", "dk", "dv"),
}


def kind(name: str, dtype: str) -> str:
    if name in FP32:
        return "*fp32"
    if name in INT64:
        return "*i64"
    if name in TENSORS:
        return f"*{dtype}"
    return {"eps": "fp32", "scale": "fp32", "softcap": "fp32", "spans": "*i32"}.get(name, "i32")


def compiled(kernel: Any, capability: int, dtype: str, width: int, flag: int) -> int:
    names = kernel.arg_names
    side = 64 if width * {"fp32": 4, "bf16": 2}[dtype] <= 256 else 32
    sizes = {**SIZES, **dict.fromkeys(FLAGS, flag), "WIDTH": width, "SIDE": side}
    values = {n: sizes[n] for n in names if n in sizes}
    signature = {n: "constexpr" if n in values else kind(n, dtype) for n in names}
    constants = {(names.index(n),): v for n, v in values.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    assert len(made.asm["cubin"]) > 0
    return int(made.metadata.shared)


for module in (rows, decode, tree):
    for name, kernel in vars(module).items():
        if not isinstance(kernel, triton.JITFunction) or name in INSIDE:
            continue
        for dtype, width, flag in (("fp32", 64, 0), ("bf16", 128, 1)):
            print(f"{name}-{dtype}", compiled(kernel, int(sys.argv[1]), dtype, width, flag), flush=True)
