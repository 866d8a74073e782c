"""The settings of a benchmark."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from heedful.bench.works import MODELS, NAMES
from heedful.data import cache


class BenchConfig(BaseModel):
    """`only` and `models` choose what is measured, as lists or comma-separated; `compare` is an earlier summary.json.

    `repeats` processes measure each side in turn, each at least `seconds` long; `threads` default to the cores that
    this process may use. `environments` holds a virtual environment for each rival's version; without it they lie in
    the cache folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    output: Path = Path("runs/bench")
    only: tuple[str, ...] = NAMES
    models: tuple[str, ...] = MODELS
    compare: Path | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    repeats: int = Field(3, gt=0)
    seconds: float = Field(3.0, ge=0)
    threads: int | None = Field(None, gt=0)
    seed: int = 0
    environments: Path | None = None

    @property
    def place(self) -> Path:
        """Where the rivals' virtual environments are kept."""
        return (self.environments or (cache.folder() or Path("runs")) / "bench").expanduser().absolute()

    @field_validator("only", "models", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @field_validator("only")
    @classmethod
    def _known_works(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _known(value, NAMES)

    @field_validator("models")
    @classmethod
    def _known_models(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _known(value, ("T", *MODELS))


def _known(value: tuple[str, ...], names: tuple[str, ...]) -> tuple[str, ...]:
    wrong = [v for v in value if v not in names]
    if wrong:
        raise ValueError(f"'{wrong[0]}' is none of {', '.join(names)}")
    return value
