"""Low-rank adapters by peft: put into a model's own layers, saved in peft's layout, merged or trained on when loaded.

The layers are replaced in place and the model stays what it is, so packed rows, heads and samplers see no change.
"""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import save_file

from heedful.errors import UserError

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."  # what peft's own wrapper puts before every name


class LoraSettings(Protocol):
    """The settings of an adapter; `lora_r` 0 is none."""

    @property
    def lora_r(self) -> int: ...
    @property
    def lora_alpha(self) -> float: ...
    @property
    def lora_target_modules(self) -> str | tuple[str, ...]: ...


def adapt(model: Any, settings: LoraSettings, *, base: str | Path, whole: Sequence[str] = ()) -> Any:
    """Put a new adapter into `model`, in place; from now on only it is trained, and what `whole` names.

    The product of its two matrices is zero at first (Hu et al. 2021, section 4.1, arXiv:2106.09685), so that nothing
    changes before the first step. `base` is where the weights below it lie, which the adapter names.
    A model that has an adapter already keeps it, and it is trained on.
    """
    if not settings.lora_r or has(model):
        return model
    peft = _peft()
    targets = settings.lora_target_modules
    config = peft.LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=0.0,
        target_modules=targets if isinstance(targets, str) else list(targets),
        modules_to_save=list(whole) or None,
        base_model_name_or_path=str(Path(base).resolve()) if Path(base).is_dir() else str(base),
        task_type="CAUSAL_LM" if not whole else "SEQ_CLS",
    )
    with _explained(f"lora_target_modules={targets!r} fits no layer of this model"):
        peft.inject_adapter_in_model(config, model)
    return model


def has(model: Any) -> bool:
    """Whether there is an adapter in the model."""
    return bool(getattr(model, "peft_config", None))


@contextmanager
def switched_off(model: Any) -> Iterator[None]:
    """The model without its adapter, if it has one: the base model that lies below it."""
    layers = []
    if has(model):
        layer = _peft().tuners.tuners_utils.BaseTunerLayer
        layers = [module for module in model.modules() if isinstance(module, layer)]
    for module in layers:
        module.enable_adapters(False)
    try:
        yield
    finally:
        for module in layers:
            module.enable_adapters(True)


def save_pretrained(folder: str | Path, model: Any) -> None:
    """Write a model as transformers does; of one with an adapter, the adapter alone, in peft's layout."""
    if not has(model):
        model.save_pretrained(folder, safe_serialization=True)
        return
    state = _peft().get_peft_model_state_dict(model)
    tensors = {f"{PREFIX}{name}": value.detach().contiguous() for name, value in state.items()}
    Path(folder).mkdir(parents=True, exist_ok=True)
    save_file(tensors, Path(folder) / WEIGHTS_FILE, metadata={"format": "pt"})
    config = model.peft_config["default"]
    config.save_pretrained(folder)
    if config.modules_to_save or hasattr(
        model.config, "score_mean"
    ):  # a scorer, whose configuration says how it scores
        model.config.save_pretrained(folder)


def base_of(source: str | Path) -> str | None:
    """The model that an adapter folder belongs to, or None where `source` is no adapter folder."""
    path = Path(source) / CONFIG_FILE
    if not path.is_file():
        return None
    try:
        base = json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"'{path}' is damaged: it does not name the model that the adapter is for") from None
    return str(base)


def load(model: Any, source: str | Path, *, merge: bool) -> Any:
    """Put the adapter in `source` into its base `model`: added to the weights, or beside them, alone to be trained."""
    if not (Path(source) / WEIGHTS_FILE).is_file():
        raise UserError(f"'{source}' has no {WEIGHTS_FILE}: give a folder in peft's layout")
    with _explained(f"the adapter in '{source}' does not fit '{base_of(source)}'"):
        wrapped = _peft().PeftModel.from_pretrained(
            model, str(source), is_trainable=not merge, use_safetensors=True
        )
    # peft freezes what it wraps; with the adapter added, the model is one like any other.
    return wrapped.merge_and_unload().requires_grad_(True) if merge else wrapped.get_base_model()


@contextmanager
def _explained(sentence: str) -> Iterator[None]:
    """Faults of peft as one sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers in a way that will go
            yield
    except Exception as error:
        raise UserError(f"{sentence}: {' '.join(str(error).split())[:160]}") from error


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise UserError("adapters need peft: pip install 'heedful[lora]'") from None
    return peft
