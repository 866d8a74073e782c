"""Load on `heedful serve`, beside a plain server of transformers' `generate` that answers one by one.

    python benchmarks/serve.py [--model A] [--streams 64] [--requests 64] [--tokens 64] [--repeats 3]
        [--vanishing 1000] [--many 10000] [--seed 0]

Both servers have the same weights, prompts and lengths, and take turns. Prints a table, and writes
benchmarks/serve.json in the shape of every summary.json.
"""

import argparse
import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import httpx
import numpy as np
import torch
from scipy import stats

from heedful.bench import models
from heedful.engine import record

HERE = Path(__file__).parent
KEY = "the-key-of-the-benchmark"
HEADERS = {"Authorization": f"Bearer {KEY}"}
PROMPT = 32


@dataclass(frozen=True)
class Load:
    """What one run of many clients gave: tokens a second, and each request's seconds to its first token."""

    rate: float
    first: list[float]


@dataclass(frozen=True)
class Server:
    """A server that runs in a process of its own."""

    url: str
    process: "subprocess.Popen[bytes]"

    def memory(self) -> int:
        """Bytes that the process holds now (Linux)."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s*(\d+) kB", text)
        assert found is not None
        return 1024 * int(found[1])


@contextmanager
def started(command: list[str], port: int) -> Iterator[Server]:
    """Start a server and wait until it answers."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert process.poll() is None, "a server of the benchmark did not start"
            try:
                httpx.get(f"{url}/health")
                break
            except httpx.TransportError:
                time.sleep(0.2)
        yield Server(url, process)
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def requests(number: int, tokens: int, vocabulary: int, seed: int) -> list[dict[str, Any]]:
    """Streamed requests of random prompts; no answer ends before its length."""
    rng = np.random.default_rng(seed)
    return [
        {
            "model": "bench",
            "prompt": rng.integers(models.FIRST_WORD, vocabulary, PROMPT).tolist(),
            "max_tokens": tokens,
            "seed": int(rng.integers(2**31)),
            "stream": True,
            "logit_bias": {str(models.EOS): -100},
        }
        for _ in range(number)
    ]


@asynccontextmanager
async def asking(server: Server, body: dict[str, Any]) -> AsyncIterator[AsyncIterator[bytes]]:
    """Send a streamed request and yield the lines of its events.

    A client library takes as long to read an event as a server to send it, on the cores that are measured; so bytes
    are read as they come.
    """
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    sent = json.dumps(body).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n"
    writer.write(
        f"{head}Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n".encode() + sent
    )

    async def lines() -> AsyncIterator[bytes]:
        async for line in reader:
            if line.startswith(b"data: "):
                yield line.rstrip()

    try:
        assert b" 200 " in await reader.readline(), "a request was refused"
        yield lines()
    finally:
        writer.close()


def load(server: Server, bodies: list[dict[str, Any]], streams: int) -> Load:
    """Send all requests, `streams` at once, and read every stream to its end."""

    async def run() -> Load:
        gate, first = asyncio.Semaphore(streams), list[float]()

        async def one(body: dict[str, Any]) -> None:
            async with gate:
                began = time.perf_counter()
                async with asking(server, body) as lines:
                    last = await anext(lines)
                    first.append(time.perf_counter() - began)
                    async for line in lines:
                        last = line
                    assert last == b"data: [DONE]", "a stream broke off"

        began = time.perf_counter()
        await asyncio.gather(*map(one, bodies))
        seconds = time.perf_counter() - began
        return Load(sum(b["max_tokens"] for b in bodies) / seconds, first)

    return asyncio.run(run())


def vanish(server: Server, bodies: list[dict[str, Any]], streams: int) -> dict[str, float]:
    """Clients that leave after the first event; then what the server still does, and after how many seconds nothing."""

    async def run() -> None:
        gate = asyncio.Semaphore(streams)

        async def one(body: dict[str, Any]) -> None:
            async with gate, asking(server, body) as lines:
                await anext(lines)

        await asyncio.gather(*map(one, bodies))

    before = counters(server)
    asyncio.run(run())
    began = time.perf_counter()
    while (now := counters(server))["running"] or now["waiting"]:
        assert time.perf_counter() - began < 60, "vanished clients are still answered"
        time.sleep(0.02)
    gone = {
        name: now[name] - before[name]
        for name in ("cancelled_total", "answers_total", "generated_tokens_total")
    }
    return {**gone, "seconds_to_idle": time.perf_counter() - began}


def counters(server: Server) -> dict[str, float]:
    """The server's own counters."""
    text = httpx.get(f"{server.url}/metrics", headers=HEADERS).text
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name.removeprefix("heedful_"): float(value) for name, value in lines}


def growth(server: Server, number: int, vocabulary: int, streams: int, seed: int) -> list[tuple[int, int]]:
    """Memory after so many short requests of changing lengths."""
    rows = []
    part = max(number // 10, 1)
    for at in range(0, number, part):
        bodies = requests(part, 4, vocabulary, seed + at)
        for n, body in enumerate(bodies):
            body["max_tokens"], body["prompt"] = 1 + n % 8, body["prompt"][: 1 + n % PROMPT]
        load(server, bodies, streams)
        rows.append((at + part, server.memory()))
    return rows


def interval(values: list[float], unit: str) -> dict[str, Any]:
    """A mean with its 95 % t-interval."""
    half = (
        stats.t.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    )
    at = mean(values)
    low, high = (None, None) if half is None else (at - half, at + half)
    return {"value": at, "low": low, "high": high, "n": len(values), "unit": unit}


def point(value: float, n: int, unit: str) -> dict[str, Any]:
    return {"value": value, "low": None, "high": None, "n": n, "unit": unit}


def measured(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """All figures."""
    shape = models.SHAPES[args.model]
    ours, theirs, first, peers_first = [], [], [], []
    with tempfile.TemporaryDirectory() as place:
        models.write(Path(place), shape, args.seed)
        source = str(Path(place) / "model")
        port, other = free_port(), free_port()
        serve = [
            sys.executable,
            "-m",
            "heedful",
            "serve",
            source,
            "name=bench",
            f"port={port}",
            f"api_key={KEY}",
        ]
        serve += [f"slots={args.streams}", "queue=2000", "rate=100000", "burst=100000"]
        peer = [sys.executable, str(HERE / "generate_server.py"), source, str(other)]
        with started(serve, port) as server, started(peer, other) as plain:
            warm = requests(2, 4, shape.vocabulary, args.seed)
            for one in (server, plain):
                load(one, warm, 2)
            for repeat in range(args.repeats):
                bodies = requests(args.requests, args.tokens, shape.vocabulary, args.seed + 1 + repeat)
                found = load(server, bodies, args.streams)
                peers = load(plain, bodies[: args.peer_requests], args.streams)
                ours.append(found.rate)
                theirs.append(peers.rate)
                first += found.first
                peers_first += peers.first
                print(f"repeat {repeat + 1}: {found.rate:.0f} and {peers.rate:.0f} tokens/s", file=sys.stderr)
            gone = vanish(server, requests(args.vanishing, 200, shape.vocabulary, args.seed), args.streams)
            rows = growth(server, args.many, shape.vocabulary, args.streams, args.seed)
    settled = [memory for number, memory in rows if number >= args.many // 2]
    return {
        "serve/ratio": interval([a / b for a, b in zip(ours, theirs, strict=True)], "times"),
        "serve/ours": interval(ours, "tokens/s"),
        "serve/generate": interval(theirs, "tokens/s"),
        "serve/first_token_p95": point(float(np.quantile(first, 0.95)), len(first), "s"),
        "serve/generate_first_token_p95": point(float(np.quantile(peers_first, 0.95)), len(peers_first), "s"),
        "serve/vanished": point(args.vanishing, args.vanishing, "clients"),
        "serve/vanished_cancelled": point(gone["cancelled_total"], args.vanishing, "answers"),
        "serve/vanished_finished": point(gone["answers_total"], args.vanishing, "answers"),
        "serve/vanished_seconds_to_idle": point(gone["seconds_to_idle"], 1, "s"),
        "serve/memory_after_half": point(settled[0], args.many // 2, "bytes"),
        "serve/memory_growth_in_second_half": point(settled[-1] / settled[0] - 1, args.many, "share"),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="A", choices=sorted(models.SHAPES))
    numbers = {
        "streams": 64,
        "requests": 64,
        "peer-requests": 16,
        "tokens": 64,
        "repeats": 3,
        "vanishing": 1000,
    }
    for name, value in {**numbers, "many": 10_000, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--output", type=Path, default=HERE / "serve.json")
    args = parser.parse_args()
    began = time.perf_counter()
    figures = measured(args)
    summary = {
        "command": " ".join(["python", "benchmarks/serve.py", *sys.argv[1:]]),
        "seed": args.seed,
        "commit": record.commit(),
        "threads": int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())),
        "seconds": {"all": round(time.perf_counter() - began, 1)},
        "figures": figures,
    }
    args.output.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print("| figure | value | 95 % interval | n |\n|---|---|---|---|")
    for name, f in figures.items():
        span = "" if f["low"] is None else f"{f['low']:.4g} to {f['high']:.4g}"
        print(f"| {name} | {f['value']:.4g} {f['unit']} | {span} | {f['n']} |")


if __name__ == "__main__":
    main()
