"""Built-in settings: functions that return the settings of a loop and of its stages."""

from importlib import import_module
from pathlib import Path
from typing import Any

from heedful import settings
from heedful.errors import UserError, nearest

NAMES = ("demo", "small", "local")


def find(name: str, *, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """The settings of a built-in recipe, or of a YAML file (which may start from one with `recipe: NAME`)."""
    if name in above:
        raise UserError(f"recipe '{name}' starts from itself: {' -> '.join((*above, name))}")
    if name in NAMES:
        return dict(import_module(f"heedful.recipes.{name}").settings())
    if "=" in name:
        raise UserError(f"a recipe comes before the settings: write local {name}")
    path = Path(name)
    if path.suffix not in {".yaml", ".yml"}:
        raise UserError(
            f"there is no recipe '{name}'.{nearest(name, NAMES)} Known: {', '.join(NAMES)}, or a .yaml file."
        )
    if not path.is_file():
        raise UserError(f"recipe file '{name}' does not exist")
    values = settings.read(path)
    base = values.pop("recipe", None)
    return settings.merge(find(str(base), above=(*above, name)), values) if base else values
