"""What is measured: each work, how much of it a step takes, against whom, and what must be reached."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rival:
    """Another way to do a work: a module of `peers`, run with a version of `library`; `goal` is how many times faster
    we must be. `precision` replaces the run's.
    """

    name: str
    version: str
    module: str
    goal: float
    precision: str | None = None
    library: str = "trl"


TRL = "1.16.0"
TRL_WITH_PPO = "1.12.0"
TORCHTUNE = "0.6.1"


@dataclass(frozen=True)
class Work:
    """A step takes `batch` examples, with `samples` answers each where they are sampled; `unit` is what is counted a
    second. At least `least` steps are measured.
    """

    unit: str
    batch: int
    rivals: tuple[Rival, ...]
    least: int
    samples: int = 8
    max_completion_length: int = 128


WORKS = {
    "sft": Work("tokens/s", 16, (Rival("trl", TRL, "trl_trainers", 3.0),), least=3),
    "reward": Work("rankings/s", 4, (Rival("trl", TRL, "trl_trainers", 8.0),), least=1),
    "dpo": Work("pairs/s", 16, (Rival("trl", TRL, "trl_trainers", 5.0),), least=2),
    "sampling": Work(
        "tokens/s",
        8,
        (
            Rival("trl", TRL, "generate", 8.0),
            Rival("generate_bf16", TRL, "generate", 5.0, precision="bf16-weights"),
            Rival("loop", TRL, "loop", 1.0),
        ),
        least=1,
        max_completion_length=250,
    ),
    "grpo": Work("samples/s", 4, (Rival("trl", TRL, "trl_trainers", 5.0),), least=1),
    "ppo": Work(
        "samples/s",
        8,
        (
            Rival("trl", TRL_WITH_PPO, "trl_ppo", 5.0),
            Rival("torchtune", TORCHTUNE, "torchtune_ppo", 5.0, library="torchtune"),
        ),
        least=1,
        samples=4,
    ),
}
GROWTH = {"data": "tokens trained on", "queue": "requests queued"}
NAMES = (*WORKS, *GROWTH)
MODELS = ("A", "B")
EXAMPLES = 256
