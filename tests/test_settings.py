"""Settings: what is typed is what is meant, layers lie as expected, and every fault names the nearest right word."""

import re
from pathlib import Path
from typing import Any, Literal, Self

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, model_validator

from heedful import settings
from heedful.errors import UserError

NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
SCALARS = st.one_of(
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.text(st.characters(categories=("L", "N", "P", "Zs", "S")), max_size=20),
)


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    learning_rate: float = Field(1e-5, gt=0)
    epochs: int = 1
    lang: Literal["en", "zh"] = "en"

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.epochs > 10 and self.lang == "zh":
            raise ValueError("zh is learnt in 10 epochs: lower epochs")
        return self


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a=1", 1),
        ("a=1e-5", 1e-5),
        ("a=1E5", 1e5),
        ("a=-2.5e+3", -2500.0),
        ("a=.5e1", 5.0),
        ("a=1e", "1e"),
        ("a=e", "e"),
        ("a=0x1e", 30),
        ("a=true", True),
        ("a=null", None),
        ("a=", ""),
        ("a=b=c", "b=c"),
        ("a=[sft, rl]", ["sft", "rl"]),
        ("a={b: 1}", {"b": 1}),
        ("a=runs/e5", "runs/e5"),
        ("a='1'", "1"),
        ("a=愿闻其详", "愿闻其详"),
    ],
)
def test_values_are_read_as_people_write_them(word: str, value: Any) -> None:
    found = settings.parse([word])["a"]
    assert (found, type(found)) == (value, type(value))


def written(value: Any) -> str:
    """A value as YAML, on one line and without the end-of-document mark."""
    return str(yaml.safe_dump(value, allow_unicode=True, width=10**6)).split("\n...")[0].removesuffix("\n")


@given(st.dictionaries(NAMES, SCALARS, max_size=4))
def test_what_yaml_writes_is_read_back(values: dict[str, Any]) -> None:
    words = [f"{name}={written(value)}" for name, value in values.items()]
    assert settings.parse(words) == values


def test_points_nest() -> None:
    assert settings.parse(["rl.iterations=2", "seed=1", "rl.x.y=3"]) == {
        "seed": 1,
        "rl": {"iterations": 2, "x": {"y": 3}},
    }


@pytest.mark.parametrize("word", ["seed", "=1", "", "-x", "a=[", "a={", "a=2024-99-99", "a=@b", "a=*b"])
def test_what_cannot_be_read_is_named(word: str) -> None:
    with pytest.raises(UserError, match=r"is not a setting|cannot be read"):
        settings.parse([word])


def test_a_part_of_a_value_is_refused() -> None:
    with pytest.raises(UserError, match=r"'a\.b' sets a part of 'a'"):
        settings.parse(["a=1", "a.b=2"])


TREES = st.recursive(
    st.dictionaries(NAMES, st.integers(), max_size=3),
    lambda inner: st.dictionaries(NAMES, st.one_of(st.integers(), inner), max_size=3),
    max_leaves=8,
)


@given(TREES, TREES)
def test_layers_lie_on_each_other(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert settings.merge(one, {}) == settings.merge({}, one) == settings.merge(one, one) == one
    assert {k: v for k, v in settings.merge(one, two).items() if k not in two} == {
        k: v for k, v in one.items() if k not in two
    }
    assert all(settings.merge(one, two)[k] == v for k, v in two.items() if not isinstance(v, dict))


def test_merging_changes_neither_layer() -> None:
    below, above = {"rl": {"a": 1}}, {"rl": {"b": 2}}
    settings.merge(below, above)
    assert (below, above) == ({"rl": {"a": 1}}, {"rl": {"b": 2}})


FAULTS = [
    ({}, r"sft needs model: add model=\.\.\."),
    ({"modle": "x"}, r"sft has no setting 'modle'\. Did you mean 'model'\?"),
    ({"model": "x", "zzz": 1}, r"sft has no setting 'zzz'\. Known: epochs, lang, learning_rate, model\."),
    (
        {"model": "x", "learning_rate": 0},
        r"sft: learning_rate=0 is not right: input should be greater than 0",
    ),
    ({"model": "x", "epochs": 1.5}, r"sft: epochs=1\.5 is not right: input should be a valid integer.*"),
    ({"model": "x", "lang": "fr"}, r"sft: lang='fr' is not right: input should be 'en' or 'zh'"),
    ({"model": "x", "epochs": 11, "lang": "zh"}, r"sft: zh is learnt in 10 epochs: lower epochs"),
    ({"model": 3}, r"sft: model=3 is not right: input should be a valid string"),
]


@pytest.mark.parametrize(("values", "message"), FAULTS)
def test_a_fault_is_one_sentence(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        settings.build(Config, values, what="sft")
    assert re.fullmatch(message, str(caught.value)), caught.value


def test_a_check_is_a_build_that_does_not_mind_what_is_missing() -> None:
    settings.check(Config, {}, what="sft")
    settings.check(Config, {"epochs": 2}, what="sft")
    for values, message in FAULTS[1:]:
        rest = values if values.get("model") == 3 else {k: v for k, v in values.items() if k != "model"}
        with pytest.raises(UserError) as caught:
            settings.check(Config, rest, what="sft")
        assert re.fullmatch(message, str(caught.value))


def test_a_recipe_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("seed: 1\nrl: {iterations: 3}\n名: 愿\n", encoding="utf-8")
    assert settings.read(path) == {"seed": 1, "rl": {"iterations": 3}, "名": "愿"}


@pytest.mark.parametrize(
    "text", ["a: [", "- 1", "", "3", "a: b: c", "a: 2024-99-99", "!!python/object:os.system {}"]
)
def test_a_bad_recipe_file_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"x\.yaml(, line \d+)? (is not valid YAML|must hold)"):
        settings.read(path)
