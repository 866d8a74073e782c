"""Verbs that do their work: what they print, what they leave on disk, and what a second time does."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from cli.kit import ANSWERS, QUESTIONS, Heedful, Typed, jsonl, tree
from heedful import __version__, loop, recipes

MODELS = {
    "pretrain": "model",
    "sft": "model",
    "reward": "model",
    "rl": "model",
    "prefer": "model",
    "best-of": "model",
    "distill": "model",
    "tokenizer": "tokenizer",
}


@pytest.mark.parametrize("verb", [*MODELS, "feedback", "judge", "revise", "evaluate"])
def test_a_verb_leaves_its_result_and_a_record_and_a_second_time_does_nothing(
    heedful: Heedful, typed: Typed, tmp_path: Path, verb: str
) -> None:
    output = tmp_path / "out"
    line = typed(verb, output)
    first = heedful(*line)
    assert (first.code, first.out) == (0, "")
    assert re.fullmatch(rf"{verb} .*\(\d+\.\d s\)\n", first.err), first.err
    if verb in MODELS:
        assert (output / MODELS[verb] / "tokenizer.json").is_file()
    record = json.loads((output / "run.json").read_text())
    assert record["command"].startswith(f"heedful {verb} local ")
    assert record["config"]["seed"] == record["seed"] == 0
    assert record["config"]["output"] == str(output)
    assert {"heedful", "python", "torch", "transformers", "tokenizers", "numpy"} <= record["versions"].keys()
    assert record["versions"]["heedful"] == __version__
    for name, digest in record["data"].items():
        assert digest == hashlib.sha256(Path(record["config"][name]).read_bytes()).hexdigest()
    assert record["data"].keys() == {w.partition("=")[0] for w in line if w.endswith((".jsonl", ".yaml"))}
    before = tree(output)
    second = heedful(*line)
    assert (second.code, second.err) == (0, first.err)
    after = tree(output)
    assert {name for name in after if after[name] != before.get(name)} <= {"run.json"}
    assert after.keys() == before.keys()


@pytest.mark.parametrize("verb", ["demo", "sft", "rl", "loop"])
def test_a_dry_run_prints_the_settings_and_writes_nothing(
    heedful: Heedful, typed: Typed, tmp_path: Path, verb: str
) -> None:
    output = tmp_path / "out"
    before = tree(tmp_path)
    if verb in ("demo", "loop"):
        line = [verb, *(["small"] if verb == "loop" else []), "rl.iterations=7", f"output={output}"]
    else:
        line = typed(verb, output)
    ended = heedful(*line, "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    shown = json.loads(ended.out)
    assert shown["output"] == str(output)
    if verb == "sft":
        assert (shown["learning_rate"], shown["tokens_per_step"], shown["epochs"]) == (2e-5, 256, 1.0)
    if verb in ("demo", "loop"):
        assert shown["rl"]["iterations"] == 7
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", recipes.NAMES)
def test_every_recipe_is_valid(name: str) -> None:
    loop.LoopConfig.model_validate(recipes.find(name))


def test_words_stand_above_the_file_and_the_file_above_its_recipe(heedful: Heedful, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("recipe: small\nseed: 3\nrl:\n  iterations: 5\n  clip_range: 0.1\n")
    shown = json.loads(heedful("loop", file, "rl.iterations=6", "--dry-run").out)
    assert shown["seed"] == 3
    assert (shown["rl"]["iterations"], shown["rl"]["clip_range"]) == (6, 0.1)
    assert shown["rl"]["prompts_per_step"] == recipes.find("small")["rl"]["prompts_per_step"]


def test_a_recipe_file_holds_for_single_verbs_too(heedful: Heedful, typed: Typed, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("recipe: local\nseed: 3\nsft: {epochs: 2, max_length: 99}\nrl: {iterations: 5}\n")
    verb, _, *rest = typed("sft", tmp_path / "out")
    shown = json.loads(heedful(verb, file, *rest, "epochs=3", "--dry-run").out)
    assert (shown["seed"], shown["epochs"], shown["max_length"], shown["learning_rate"]) == (3, 3, 99, 2e-5)


def test_inspect_marks_what_is_trained(heedful: Heedful, model: Path, tmp_path: Path) -> None:
    turns = [
        (role, text)
        for q, a in zip(QUESTIONS, ANSWERS, strict=True)
        for role, text in (("user", q), ("assistant", a))
    ]
    rows = [{"messages": [{"role": role, "content": text} for role, text in turns]}] * 5
    ended = heedful("inspect", jsonl(tmp_path / "chats.jsonl", rows), model, "--rows", 2)
    assert ended.code == 0
    first, second = [part for part in ended.out.split("\n\n") if part]
    assert first == second
    # An answer with the token that ends it, and nothing else.
    assert re.findall(r"⟦([^⟧]*)⟧", first) == [f"{answer}<|end|>" for answer in ANSWERS]
    for question in QUESTIONS:
        assert question in first
    trained, whole = map(int, re.findall(r"(\d+) of (\d+) tokens are trained on", first)[0])
    assert 0 < trained < whole


def test_inspect_shows_no_control_characters(heedful: Heedful, model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "Who\x1b[2J?", "completion": "Mira\x07."}]
    shown = heedful("inspect", jsonl(tmp_path / "chats.jsonl", rows), model).out
    assert "\x1b" not in shown
    assert "\x07" not in shown


def test_a_recipe_that_names_a_judge_does_not_stand_in_the_way_of_the_verb(
    heedful: Heedful, typed: Typed, tmp_path: Path
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("recipe: local\njudge: world\n")
    verb, _, *words = typed("judge", tmp_path / "out")
    ended = heedful(verb, recipe, *words, "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out)["anyway"] is True
