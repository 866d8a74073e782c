"""The pages of the documentation, taken apart."""

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").glob("*.ipynb")],
    key=lambda path: path.relative_to(ROOT).as_posix(),
)


def name(path: Path) -> str:
    """A page's path from the root, for the names of tests."""
    return path.relative_to(ROOT).as_posix()


def text(path: Path) -> str:
    """A page's Markdown; of a notebook, that of its cells."""
    content = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return content
    cells = json.loads(content)["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def blocks(path: Path, language: str) -> list[str]:
    """The fenced code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text(path), re.DOTALL | re.MULTILINE)


def commands(path: Path) -> Iterator[str]:
    """Every command of a page's shell blocks, without comments."""
    for block in blocks(path, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            if command := re.sub(r"(^|\s)#.*", "", line).strip():
                yield command


def outside_code(path: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text(path), flags=re.DOTALL | re.MULTILINE)


def links(path: Path) -> list[str]:
    """The targets of all links and pictures that lead nowhere outside the repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", outside_code(path))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def in_english(target: str) -> str:
    """A link's target, of a Chinese twin that of its English page."""
    return target.replace("docs/zh/", "docs/").replace("README.zh-CN.md", "README.md")


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    found: dict[str, int] = {}
    result = set()
    for heading in re.findall(r"^#+ (.*)$", outside_code(path), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", re.sub(r"\\(.)", r"\1", heading).lower()).strip().replace(" ", "-")
        result.add(f"{slug}-{found[slug]}" if slug in found else slug)
        found[slug] = found.get(slug, 0) + 1
    return result


def part(path: Path, mark: str) -> str:
    """What stands between `<!-- mark -->` and `<!-- /mark -->`."""
    return text(path).partition(f"<!-- {mark} -->")[2].partition(f"<!-- /{mark} -->")[0]


def generator() -> Any:
    """docs/make.py as a module."""
    spec = importlib.util.spec_from_file_location("docs_make", ROOT / "docs" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
