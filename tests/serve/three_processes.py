"""Policy, reward model and learner as three processes over HTTP, with a reward server that may be killed on the way."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heedful.types import Message, Prompt
from serve import live

PROMPTS = [Prompt(f"p{i}", (Message("user", t),)) for i, t in enumerate(("the cat", "the mat", "sat on"))]


@dataclass(frozen=True)
class Found:
    """The learner's rows of metrics, its seconds from start to end, and those without a reward server."""

    rows: list[dict[str, Any]]
    seconds: float
    outage: float
    taken_while_away: int


def run(models: Mapping[str, str], folder: Path, *, steps: int, away: float = 0.0) -> Found:
    """Learn for so many steps; kill the reward server after the first ones and start it anew `away` seconds later."""
    shared, port = folder / "policy", live.free_port()
    shutil.copytree(models["tiny"], shared)
    judge = f"reward={models['judge']}"
    outage, taken = 0.0, 0
    with live.process(folder, str(shared), "watch=true") as (policy, _):
        with live.process(folder, judge, port=port) as (reward, _):
            began = time.monotonic()
            learning = learner(folder, policy, reward, models["tiny"], shared, steps)
            if away:
                wait(learning, folder, 2)
            else:
                end(learning, folder)
        if away:  # the server has been killed
            killed, before = time.monotonic(), len(metrics(folder))
            time.sleep(away)
            assert learning.poll() is None, said(folder)
            taken = len(metrics(folder)) - before
            with live.process(folder, judge, port=port):
                outage = time.monotonic() - killed
                end(learning, folder)
    return Found(metrics(folder), time.monotonic() - began, outage, taken)


def learner(
    folder: Path, policy: str, reward: str, start: str, shared: Path, steps: int
) -> "subprocess.Popen[bytes]":
    """`heedful rl` in a process of its own, with answers and rewards from the two servers."""
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": p.messages[0].content}) + "\n" for p in PROMPTS))
    words = [
        f"model={start}",
        f"prompts={prompts}",
        f"reward={reward}/v1",
        f"sampler={policy}/v1#policy",
        f"publish={shared}",
        f"output={folder / 'rl'}",
        *(f"iterations={steps}", "prompts_per_step=3", "num_generations=4", "max_completion_length=8"),
        *("num_ppo_epochs=1", "num_mini_batches=1", "advantage=group", "kl_target=null"),
    ]
    command = [sys.executable, "-m", "heedful", "rl", "local", *words]
    environment = {**os.environ, "HEEDFUL_API_KEY": live.KEY}
    return subprocess.Popen(command, env=environment, stderr=(folder / "rl.log").open("wb"))


def wait(learning: "subprocess.Popen[bytes]", folder: Path, steps: int) -> None:
    """Until so many steps have been logged."""
    limit = time.monotonic() + 300
    while len(metrics(folder)) < steps:
        assert learning.poll() is None, said(folder)
        assert time.monotonic() < limit
        time.sleep(0.01)


def end(learning: "subprocess.Popen[bytes]", folder: Path) -> None:
    """Until the learner has ended well."""
    assert learning.wait(300) == 0, said(folder)


def metrics(folder: Path) -> list[dict[str, Any]]:
    """What the learner has logged so far."""
    file = folder / "rl" / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def said(folder: Path) -> str:
    """What the learner has said."""
    return (folder / "rl.log").read_text()
