"""Several LoRA adapters beside one base model, of which one is in force at a time. peft is an extra."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from heedful.errors import UserError

FILES = ("adapter_config.json", "adapter_model.safetensors")


class Adapters:
    """The adapters of a model, put into its layers in place; `select(None)` is the base model."""

    def __init__(self, model: Any, folders: Mapping[str, str]) -> None:
        if not folders:
            self._layers: list[Any] = []
            return
        peft = _peft()
        wrapped = None
        # Names of peft's modules may not hold dots; those that clients use may.
        self._names = {name: f"a{number}" for number, name in enumerate(folders)}
        for name, folder in folders.items():
            _check(folder)
            options: dict[str, Any] = {"adapter_name": self._names[name], "is_trainable": False}
            try:
                if wrapped is None:
                    wrapped = peft.PeftModel.from_pretrained(model, folder, use_safetensors=True, **options)
                else:
                    wrapped.load_adapter(folder, use_safetensors=True, **options)
            except Exception as error:  # each part of peft fails in its own way
                why = " ".join(str(error).split())[:200]
                raise UserError(f"the adapter '{folder}' does not fit the model: {why}") from error
        kind = import_module("peft.tuners.tuners_utils").BaseTunerLayer
        self._layers = [module for module in model.modules() if isinstance(module, kind)]
        for parameter in model.parameters():
            parameter.requires_grad_(False)

    def select(self, name: str | None) -> None:
        """Put one adapter in force, or none."""
        for layer in self._layers:
            layer.enable_adapters(name is not None)
            if name is not None:
                layer.set_adapter([self._names[name]], inference_mode=True)


def _check(folder: str) -> None:
    missing = [f for f in FILES if not (Path(folder) / f).is_file()]
    if missing:
        raise UserError(
            f"'{folder}' has no {missing[0]}: give a LoRA folder as peft writes it, with safetensors"
        )


def _peft() -> Any:
    try:
        return import_module("peft")
    except ImportError as error:
        raise UserError("adapters need peft: pip install 'heedful[lora]'") from error
