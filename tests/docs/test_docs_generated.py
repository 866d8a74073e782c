"""What is generated equals what the generator prints now, and leaves nothing out."""

import re

import docs_kit
import pytest

from heedful import cli, losses, recipes

PACKAGE = docs_kit.ROOT / "src" / "heedful"


@pytest.mark.parametrize("page", ["docs/cli.md", "docs/losses.md", "docs/library.md", "ARCHITECTURE.md"])
def test_generated_pages_are_up_to_date(page: str) -> None:
    path = docs_kit.ROOT / page
    expected = docs_kit.generator().generated()[path]
    assert path.read_text(encoding="utf-8") == expected, "run `make docs`"


def test_every_module_with_code_stands_in_the_map_and_no_other() -> None:
    listed = re.findall(
        r"^- `([\w/]+\.py)`", docs_kit.part(docs_kit.ROOT / "ARCHITECTURE.md", "modules"), re.M
    )
    modules = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    assert len(listed) == len(set(listed))
    assert {f for f in listed if not f.endswith("__init__.py")} == {
        path.relative_to(PACKAGE).as_posix() for path in modules
    }


def test_every_verb_recipe_and_setting_is_described() -> None:
    page = (docs_kit.ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    sections = docs_kit.anchors(docs_kit.ROOT / "docs" / "cli.md")
    assert sections >= {"demo", "loop", "inspect", *cli.HELP}
    for name in recipes.NAMES:
        assert f"| `{name}` |" in page
    for verb in ("loop", *cli.HELP):
        for key in cli.config_of(verb).model_fields:
            assert f"| `{key}` |" in page or f"| `{key}." in page, f"{verb} has a setting {key}"


def test_every_public_loss_is_described() -> None:
    assert docs_kit.anchors(docs_kit.ROOT / "docs" / "losses.md") >= set(losses.__all__)
