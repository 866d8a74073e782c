"""What this machine gives, measured; and what a stage will take of it, predicted: as tables and for programs."""

import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from heedful import __version__
from heedful.engine import allocator, machine, process
from heedful.engine.planner import Forecast

WIDTH = 80
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy")


def examined() -> dict[str, Any]:
    """Cores, memory, GPU, ceilings of matrix products and copies, compiler and versions. Takes about two seconds.

    Units: bytes, GF/s (10^9 multiplications and additions a second), GB/s (10^9 bytes read and written).
    """
    process.use_cores()
    threads = torch.get_num_threads()
    devices = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cores": machine.cores(),
        "cpus_visible": os.cpu_count(),
        "cpu_quota": machine.cpu_quota(),
        "threads": threads,
        "free_cores": round(machine.free_cores(threads), 2),
        "memory": machine.memory(),
        "heap_is_kept": allocator.keep_heap(),
        "gpus": [gpu(i) for i in range(torch.cuda.device_count())],
        "speed": {device: ceilings(torch.device(device)) for device in devices},
        "compiler": next(
            filter(None, map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))), None
        ),
        "versions": {"heedful": __version__, "python": platform.python_version(), **versions()},
    }


def versions() -> dict[str, str]:
    """The installed versions of the libraries that results depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def gpu(index: int) -> dict[str, Any]:
    """Name and memory of a GPU."""
    properties = torch.cuda.get_device_properties(index)
    return {
        "name": properties.name,
        "memory": properties.total_memory,
        "bf16": torch.cuda.is_bf16_supported(),
    }


def ceilings(device: torch.device) -> dict[str, float]:
    """The fastest matrix products and copy of this device, of a few tries each."""
    n = 1024 if device.type == "cpu" else 8192
    found = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        one = torch.ones(n, n, dtype=dtype, device=device)
        out = torch.empty_like(one)
        found[f"matmul_{name}_gflops"] = 2e-9 * n**3 / fastest(partial(torch.mm, one, one, out=out), device)
    source = torch.ones(1 << 25, device=device)
    target = torch.empty_like(source)
    found["copy_gb_per_second"] = 2e-9 * 4 * source.numel() / fastest(partial(target.copy_, source), device)
    return {name: round(value, 1) for name, value in found.items()}


def fastest(work: Callable[[], Any], device: torch.device, tries: int = 4) -> float:
    """Seconds of the fastest try after a first that warms up."""
    seconds = []
    for _ in range(tries + 1):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


def table(found: dict[str, Any]) -> str:
    """The machine as a table of 80 columns."""
    quota = "" if found["cpu_quota"] is None else f", quota {found['cpu_quota']:g}"
    rows = [
        ("system", found["system"]),
        ("cores", f"{found['cores']} of {found['cpus_visible']} CPUs visible{quota}; {found['cpu']}"),
        ("threads", f"{found['threads']}, which get {found['free_cores']:.1f} cores now"),
        (
            "memory",
            f"{size(found['memory'])}; freed memory is {'kept' if found['heap_is_kept'] else 'given back'}",
        ),
    ]
    rows += [("GPU", f"{g['name']}, {size(g['memory'])}") for g in found["gpus"]] or [("GPU", "none")]
    for device, speed in found["speed"].items():
        matmul = f"fp32 {speed['matmul_fp32_gflops']:,.0f}, bf16 {speed['matmul_bf16_gflops']:,.0f} GF/s"
        rows.append((f"matmul {device}", matmul))
        rows.append((f"copy {device}", f"{speed['copy_gb_per_second']:,.1f} GB/s"))
    rows.append(("compiler", found["compiler"] or "none: slower kernels are used"))
    rows += [(name, number) for name, number in found["versions"].items()]
    lines = laid_out(rows)
    if advice := machine.crowding(found["threads"], found["free_cores"]):
        lines.append(advice)
    return "\n".join(lines)


def planned(forecast: Forecast, memory: int) -> str:
    """A forecast as a table of 80 columns."""
    sizes, weights = forecast.sizes, forecast.trained
    step, one = ("iteration", "an") if forecast.stage == "rl" else ("step", "a")
    peak = max(forecast.peak, key=lambda phase: forecast.peak[phase])
    rows = [
        ("model", f"{forecast.parameters / 1e6:,.1f}M parameters, {weights / 1e6:,.1f}M of all are trained"),
        *((name, size(n * weights)) for name, n in forecast.bytes_per_parameter.items()),
        ("activations", f"{size(forecast.bytes_per_token)} a token, rows of {sizes.row:,} tokens"),
        *((f"peak, {phase}", size(held)) for phase, held in forecast.peak.items()),
        (f"{one} {step}", f"{sizes.step:,.0f} tokens, {duration(forecast.step_seconds)}"),
        *((f"  {phase}", duration(seconds)) for phase, seconds in forecast.seconds.items()),
    ]
    if sizes.steps:
        total = duration(sizes.steps * forecast.step_seconds)
        rows.append(("all", f"{sizes.steps:,} {step}s, {total} and what comes before and after"))
    lines = laid_out(rows)
    verdict = f"{forecast.stage} takes {size(forecast.peak_bytes)} at its peak ({peak}) of {size(memory)}: "
    if forecast.peak_bytes <= memory:
        lines.append(verdict + "it fits")
    elif peak == "train":
        lines.append(verdict + "lower token_budget or set gradient_checkpointing=true")
    else:
        lines.append(
            verdict + ("lower slots or num_generations" if peak == "sample" else "use a smaller model")
        )
    return "\n".join(lines)


def record(forecast: Forecast) -> dict[str, Any]:
    """A forecast for programs."""
    return {
        **asdict(forecast),
        "peak_memory_bytes": forecast.peak_bytes,
        "seconds_per_step": forecast.step_seconds,
    }


def laid_out(rows: list[tuple[str, str]]) -> list[str]:
    """Two columns; what is too long for the second is cut."""
    return [f"{name:<16}{value}"[:WIDTH] for name, value in rows]


def size(n: float) -> str:
    """Bytes as people read them."""
    unit = next((u for u, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if n >= least), "B")
    return f"{n / {'GB': 1e9, 'MB': 1e6, 'kB': 1e3, 'B': 1}[unit]:,.{2 if unit == 'GB' else 0}f} {unit}"


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    if seconds < 100:
        return f"{seconds:.2f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if minutes < 100 else f"{hours:.1f} h"
