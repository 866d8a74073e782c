"""Several processes train what one would: the same result, one voice, and a death that is survived."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cli.kit import Typed
from faults import lives
from heedful import cli
from processes import together

STEP = "heedful.engine.optim:Optimizer.step"


def command(words: list[str], killed: tuple[int, int] | None = None, other: str = "") -> None:
    """`heedful WORDS...`; (rank, n) is killed before its n-th step, and the second process has another file."""
    rank = int(os.environ["RANK"])
    if other and rank == 1:
        words = [other if w.startswith("data=") else w for w in words]
    sys.argv = ["heedful", *words]
    if killed and killed[0] == rank:
        lives._with_trap(killed[1], STEP, cli.main, (), {})
    cli.main()


def result(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "stage.json").read_text())["result"])


def weights(folder: Path) -> torch.Tensor:
    found = load_file(folder / "model" / "model.safetensors")
    return torch.cat([found[name].flatten() for name in sorted(found)])


@pytest.mark.parametrize("verb", cli.IN_SEVERAL)
def test_every_verb_gives_what_it_gives_alone(typed: Typed, tmp_path: Path, verb: str) -> None:
    found = []
    for size in (1, 2):
        output = tmp_path / str(size)
        words = [w for w in typed(verb, output) if "seed" not in w] + [
            "optimizer=adamw",
            "learning_rate=1e-4",
        ]
        codes, said = together(size, command, words)
        assert codes == [0] * size
        assert len(re.findall(rf"^{verb} .*s\)$", said, re.M)) == 1
        found.append(
            (result(output), weights(output), len((output / "metrics.jsonl").read_text().splitlines()))
        )
    alone, shared = found
    assert shared[2] == alone[2] > 1
    torch.testing.assert_close(shared[1], alone[1], atol=1e-5, rtol=1e-5)
    for name, value in alone[0].items():
        if isinstance(value, float) and name != "seconds":
            assert shared[0][name] == pytest.approx(value, abs=1e-4), name


@pytest.mark.parametrize("rank", [0, 1])
def test_the_death_of_one_ends_all_with_one_sentence_and_another_number_goes_on(
    typed: Typed, tmp_path: Path, rank: int
) -> None:
    output, whole = tmp_path / "out", tmp_path / "whole"
    assert together(2, command, [*typed("sft", whole), "epochs=3"])[0] == [0, 0]
    words = [*typed("sft", output), "epochs=3", "save_every=0"]
    codes, said = together(2, command, words, (rank, 4))
    assert codes[rank] == lives.KILLED
    assert codes[1 - rank] == 2
    assert re.fullmatch(r"heedful: another of the 2 processes has ended.*the same command continues\n", said)
    assert (output / "checkpoint-3").exists()
    codes, said = together(3, command, words)
    assert codes == [0, 0, 0]
    assert said.startswith("sft ran with 2 processes and goes on with 3")
    torch.testing.assert_close(weights(output), weights(whole), atol=1e-5, rtol=1e-5)
    steps = [json.loads(row)["step"] for row in (output / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(len(steps)))


def test_other_data_is_one_sentence(typed: Typed, tmp_path: Path, data: dict[str, Path]) -> None:
    rows = data["conversations"].read_text().splitlines(keepends=True)
    other = tmp_path / "other.jsonl"
    other.write_text("".join(rows[1:]))
    codes, said = together(2, command, typed("sft", tmp_path / "out"), None, f"data={other}")
    assert 2 in codes
    assert 0 not in codes
    assert re.fullmatch(
        r"heedful: process 1 of 2 has other settings or files .*other\.jsonl has other.*\n", said
    )
    assert not (tmp_path / "out" / "stage.json").exists()


def test_the_launcher_speaks_once_and_the_same_command_continues(typed: Typed, tmp_path: Path) -> None:
    output, whole = tmp_path / "out", tmp_path / "whole"
    assert together(2, command, [*typed("sft", whole), "epochs=10"])[0] == [0, 0]
    words = ["--processes", "2", *typed("sft", output), "epochs=10", "save_every=0"]
    line = [sys.executable, "-m", "heedful", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=environment) as process:
        while not list(output.glob("checkpoint-*/manifest.json")):
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(of_rank(1, process.pid), signal.SIGKILL)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 2
    assert re.fullmatch(r"heedful: [^\n]*the same command continues\n", said)
    assert subprocess.run(line, env=environment, check=False).returncode == 0
    assert torch.equal(weights(output), weights(whole))


def of_rank(rank: int, parent: int) -> int:
    """The process that the launcher gave this rank."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            child = int((place / "stat").read_text().rpartition(")")[2].split()[1]) == parent
            names = (place / "environ").read_bytes().split(b"\0") if child else []
        except OSError:
            continue
        if f"RANK={rank}".encode() in names:
            return int(place.name)
    raise AssertionError("there is no such process")
