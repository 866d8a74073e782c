"""The settings of a server."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from heedful.engine.precision import Precision


class ServeConfig(BaseModel):
    """`model` is a folder or hub name, and `name` what clients call it (default: the folder's name).

    `models` are further models, `adapters` LoRA folders of peft on `model`, `reward` a reward model's folder or
    several by name. `api_key` (or HEEDFUL_API_KEY) is the one key; without it the keys are the lines of `key_file`,
    which is made at the first start. Prompt and answer have at most `max_length` tokens together, the answer at most
    `max_completion_length`; `slots` answers are written at once a model, `queue` more may wait. Each key may send
    `burst` requests at once and `rate` a second. With `watch`, a model whose folder was replaced is loaded again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    model: str | None = None
    name: str | None = Field(None, min_length=1, max_length=128)
    models: dict[str, str] = {}
    adapters: dict[str, str] = {}
    reward: str | dict[str, str] | None = None
    engine: Literal["heedful", "vllm"] = "heedful"
    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535)
    api_key: str | None = Field(None, min_length=16, max_length=256, pattern=r"^[!-~]+$", repr=False)
    key_file: Path | None = None
    precision: Precision = "auto"
    slots: int = Field(64, ge=1, le=1024)
    queue: int = Field(256, ge=1, le=100_000)
    max_length: int = Field(4096, ge=2)
    max_completion_length: int = Field(1024, ge=1)
    max_body: int = Field(2 << 20, ge=1024, le=1 << 28)
    rate: float = Field(100.0, gt=0)
    burst: int = Field(200, ge=1)
    watch: bool = False

    @model_validator(mode="after")
    def _something_to_serve(self) -> Self:
        if self.model is None and (self.models or self.adapters or self.name):
            raise ValueError("models, adapters and name go with a model: give one")
        if self.model is None and self.reward is None:
            raise ValueError("there is nothing to serve: give a model, reward=DIR, or both")
        return self

    def rewards(self) -> dict[str, str]:
        """The reward models by the names that clients use."""
        if self.reward is None:
            return {}
        return self.reward if isinstance(self.reward, dict) else {folder_name(self.reward): self.reward}


def folder_name(source: str) -> str:
    """A model's name from where it lies: the last folder that is not called `model`."""
    parts = [p for p in Path(source).parts if p not in ("model", "/", ".", "..")]
    return parts[-1] if parts else "model"
