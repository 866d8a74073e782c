"""Python in the documentation compiles and names what exists; the public face is what it says."""

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import docs_kit
import pytest

import heedful

SNIPPETS = [
    pytest.param(block, id=f"{docs_kit.name(page)}-{number}")
    for page in docs_kit.PAGES
    for number, block in enumerate(docs_kit.blocks(page, "python"))
]


@pytest.mark.parametrize("code", SNIPPETS)
def test_code_compiles_and_names_what_exists(code: str) -> None:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or find_spec(f"{node.module}.{alias.name}"), alias.name
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "heedful"
        ):
            assert hasattr(heedful, node.attr)


@pytest.mark.parametrize("page", ["docs/feedback.md", "docs/world.md"])
def test_examples_that_need_no_files_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in docs_kit.blocks(docs_kit.ROOT / page, "python"):
        exec(compile(block, page, "exec"), {"__name__": "example"})
    assert capsys.readouterr().out


def test_the_loss_of_the_guide_has_its_minimum_where_the_paper_says() -> None:
    import torch

    from heedful.losses import bind

    names: dict[str, object] = {}
    exec(docs_kit.blocks(docs_kit.ROOT / "CONTRIBUTING.md", "python")[0], names)
    ipo = names["ipo"]
    assert bind.unit(ipo) == "pair"  # type: ignore[arg-type]
    zero = torch.zeros(3)
    # h = log-ratio of chosen less that of rejected; the loss is (h - 1/(2 tau))^2.
    found = ipo(torch.tensor([5.0, 0.0, 10.0]), zero, zero, zero, tau=0.1)  # type: ignore[operator]
    torch.testing.assert_close(found, torch.tensor([0.0, 25.0, 25.0]))


def test_the_stage_of_the_guide_runs_and_is_not_run_twice(tmp_path: Path) -> None:
    names: dict[str, object] = {"__name__": "count"}
    exec(docs_kit.blocks(docs_kit.ROOT / "CONTRIBUTING.md", "python")[1], names)
    (tmp_path / "texts.jsonl").write_text('{"text": "abc"}\n{"text": "de"}\n')
    config = names["CountConfig"](data=tmp_path / "texts.jsonl", output=tmp_path / "out")  # type: ignore[operator]
    result = names["main"](config)  # type: ignore[operator]
    assert (result["texts"], result["characters"]) == (2, 5)
    assert names["main"](config) == result  # type: ignore[operator]


def test_the_public_face_loads_every_name_from_where_it_says() -> None:
    path = Path(heedful.__file__)
    checking = next(n for n in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(n, ast.If))
    typed = {
        (node.module, alias.name)
        for node in checking.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == {(f"heedful.{home}", name) for name, home in heedful._HOME.items()}
    for name in heedful.__all__:
        assert getattr(heedful, name) is not None
    with pytest.raises(AttributeError, match="no 'moon'"):
        _ = heedful.moon  # type: ignore[attr-defined]
