"""What a worker is asked to do, the clock that it keeps, and what it answers. Standard library only."""

import json
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Example = dict[str, Any]
"""`prompt`: token ids; `answers`: lists of token ids that end with EOS, best first."""


@dataclass(frozen=True)
class Job:
    """One measurement, done by a process of its own.

    `folder` holds model/, reference/, reward/ (Hugging Face layout) and data.json; a step takes `batch` examples in
    the order of the file. The first `warm` steps are not measured; then at least `least` steps and `seconds` are.
    `refer_to` is the folder of DPO's reference: as a rule the model itself.
    """

    work: str
    folder: str
    result: str
    precision: str
    batch: int
    samples: int = 8
    max_completion_length: int = 128
    warm: int = 1
    least: int = 2
    seconds: float = 3.0
    seed: int = 0
    refer_to: str = "model"

    @property
    def model(self) -> str:
        return f"{self.folder}/model"

    @property
    def reference(self) -> str:
        return f"{self.folder}/{self.refer_to}"

    @property
    def reward(self) -> str:
        return f"{self.folder}/reward"

    def examples(self) -> list[Example]:
        """The examples, as often over as the longest measurement could take."""
        found: list[Example] = json.loads(Path(self.folder, "data.json").read_text())
        return found


@dataclass
class Lap:
    """One step: wall-clock seconds, what it did, and the CPU seconds that this process got."""

    seconds: float
    samples: float
    tokens: int
    cpu: float


@dataclass
class Clock:
    """Laps of the steps as they end; what happened before the first is not part of any measured one."""

    job: Job
    laps: list[Lap] = field(default_factory=list)
    notes: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._last = time.perf_counter(), time.process_time()

    def lap(self, samples: float, tokens: int) -> bool:
        """Record a step; True when enough has been measured."""
        now = time.perf_counter(), time.process_time()
        self.laps.append(Lap(now[0] - self._last[0], samples, tokens, now[1] - self._last[1]))
        self._last = now
        return self.enough

    @property
    def measured(self) -> list[Lap]:
        return self.laps[self.job.warm :]

    @property
    def enough(self) -> bool:
        taken = self.measured
        return len(taken) >= self.job.least and sum(lap.seconds for lap in taken) >= self.job.seconds

    def note(self, **values: float) -> None:
        """Remember what was seen first, such as the loss of the first step: proof that the work is the same."""
        for name, value in values.items():
            self.notes.setdefault(name, float(value))

    def finish(self) -> None:
        """Write the result."""
        answer = {
            "laps": [asdict(lap) for lap in self.measured],
            "peak_memory_bytes": peak_memory_bytes(),
            "notes": self.notes,
        }
        Path(self.job.result).write_text(json.dumps(answer))


def peak_memory_bytes() -> int:
    """The most memory this program has held; `ru_maxrss` would include the process that started it."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def read_job() -> Job:
    """The job named on the command line."""
    return Job(**json.loads(Path(sys.argv[1]).read_text()))


def words(ids: list[int]) -> str:
    """The text that the benchmark's tokenizer reads as `ids`."""
    return " ".join(f"t{n}" for n in ids)


def share_of_even(text: str) -> float:
    """The share of words that end in an even digit: a reward that costs nothing."""
    found = text.split()
    return sum(word[-1] in "02468" for word in found) / max(1, len(found))
