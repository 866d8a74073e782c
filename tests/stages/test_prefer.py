"""The prefer stage computes the reference once, however often it is run."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from engine.toy_rl import LETTERS, tokenizer
from heedful.data import chat
from heedful.data.formats import read_preferences
from heedful.engine import pairs
from heedful.engine.batch import Tree, answer_node, prompt_node
from heedful.engine.score import sequence_columns
from heedful.losses import find
from heedful.nn import hub
from heedful.stages import prefer
from stages import saved


def run(folder: Path, name: str, **values: Any) -> bytes:
    output = folder / name
    settings = {"model": str(folder / "policy"), "data": folder / "preferences.jsonl", "tokens_per_step": 100}
    prefer.main(prefer.PreferConfig(output=output, **{**settings, **values}))
    return saved.weights(output / "model")


def test_a_second_run_with_other_settings_computes_no_reference_and_differs_in_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, computed: list[int]
) -> None:
    saved.models(tmp_path)
    saved.preferences(tmp_path)
    monkeypatch.setenv("HEEDFUL_CACHE", "")
    expected = run(tmp_path, "alone"), run(tmp_path, "faster", learning_rate=1e-3, epochs=2)
    assert sum(computed) == 2 * 18
    monkeypatch.setenv("HEEDFUL_CACHE", str(tmp_path / "cache"))
    assert run(tmp_path, "first") == expected[0]
    assert sum(computed) == 3 * 18
    assert run(tmp_path, "second", learning_rate=1e-3, epochs=2) == expected[1]
    assert sum(computed) == 3 * 18
    assert expected[0] != expected[1]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    saved.models(tmp_path)
    saved.preferences(tmp_path)
    monkeypatch.setenv("HEEDFUL_CACHE", "")
    return tmp_path


def result(folder: Path, name: str, **values: Any) -> dict[str, Any]:
    settings = {"model": str(folder / "policy"), "data": folder / "preferences.jsonl", "tokens_per_step": 100}
    config = {"output": folder / name, "learning_rate": 5e-3, "epochs": 3, **settings, **values}
    return prefer.main(prefer.PreferConfig(**config))


@pytest.mark.parametrize("loss", list(find.names()))
def test_every_loss_learns_who_was_preferred(start: Path, loss: str) -> None:
    found = result(start, loss, loss=loss, heldout_ratio=0.3)
    assert found["heldout_accuracy"] == 1
    rows = [json.loads(line) for line in (start / loss / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1][loss] < rows[0][loss]
    assert loss in prefer.line(found)


def test_labelled_steps_are_compared_where_answers_part(start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Step-DPO: the beginning that a right and a wrong answer share is the prompt, their next steps are the pair."""
    rows = [
        {"prompt": f"{a} {b}", "steps": ["d", step], "labels": [True, right]}
        for a in LETTERS
        for b in "ab"
        for step, right in (("a", True), ("i", False))
    ]
    trained: list[Tree] = []
    train = prefer.train

    def watched(stage: Any, model: Any, trees: list[Tree], *args: Any, **kwargs: Any) -> Any:
        trained.extend(trees)
        return train(stage, model, trees, *args, **kwargs)

    monkeypatch.setattr(prefer, "train", watched)
    data = saved.lines(start / "steps.jsonl", rows)
    found = result(start, "steps", data=data, step_separator=" h", heldout_ratio=0.3)
    assert found["heldout_accuracy"] == 1
    assert found["pairs"] == found["prompts"] == len(trained) > 10
    words = tokenizer()
    for tree in trained:
        assert words.decode(tree.prompt.ids).endswith("d h")
        assert [words.decode(node.ids) for node in tree.branches] == ["a h", "i h"]


def test_contrast_lowers_answers_of_other_prompts(start: Path) -> None:
    found = result(start, "contrast", loss="contrast", borrowed=3, heldout_ratio=0.4)
    assert found["heldout_accuracy"] > 0.5  # it was 0: no answer had gained anything
    assert found["pairs"] == 4 * found["prompts"]


def test_a_loss_has_its_own_settings_and_the_stage_tells_them_from_its_own() -> None:
    given = {"output": "x", "model": "m", "data": "d"}
    config = prefer.PreferConfig(**given, loss="simpo", beta=10, gamma=3)  # type: ignore[call-arg]
    assert config.loss_settings == {"beta": 10, "gamma": 3}
    assert prefer.PreferConfig(**config.model_dump()) == config
    for wrong, sentence in [
        ({"loss": "simppo"}, "Did you mean 'simpo'"),
        ({"gamma": 1}, "loss dpo has no setting 'gamma'"),
        ({"lerning_rate": 1}, "Did you mean 'learning_rate'"),
        ({"loss": "kto", "borrowed": 1}, "borrowed means nothing with loss=kto"),
        ({"beta": "much"}, "not a number"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            prefer.PreferConfig(**given, **wrong)


def test_the_base_below_an_adapter_is_the_reference(start: Path) -> None:
    """With the adapter switched off, and from the base's own folder: the same numbers."""
    result(start, "first", lora_r=4)
    adapter = str(start / "first" / "model")
    losses = [
        result(start, name, model=adapter, lora_r=rank, reference=reference, learning_rate=1e-9)[
            "heldout_loss"
        ]
        for name, rank, reference in (
            ("off", 4, "base"),
            ("folder", 4, str(start / "policy")),
            ("merged", 0, "base"),
            ("start", 4, "start"),
        )
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert losses[0] == pytest.approx(losses[2], abs=1e-4)
    assert losses[3] == pytest.approx(math.log(2), abs=1e-3)
    assert abs(losses[0] - losses[3]) > 0.01


@pytest.mark.parametrize("loss", ["dpo", "kto"])
def test_the_drift_is_that_of_held_out_answers_since_the_start(start: Path, loss: str) -> None:
    found = result(start, loss, loss=loss, heldout_ratio=0.3)
    _, unseen = pairs.split(read_preferences(start / "preferences.jsonl"), 0.3, 0)
    totals = []
    for source in (start / "policy", start / loss / "model"):
        model, words = hub.load_model(source), tokenizer()
        chat.ensure_chat_template(words)
        trees = [
            Tree(
                prompt_node(chat.render_prompt(words, p.messages)),
                tuple(answer_node(chat.answer_ids(words, text)) for text in (p.chosen, p.rejected)),
            )
            for p in unseen
        ]
        logp = sequence_columns(model, trees, "logp")
        totals.append([[float(row[i].sum()) for row in logp] for i in (0, 1)])
    for i, name in enumerate(("chosen_drift", "rejected_drift")):
        moved = [after - before for before, after in zip(totals[0][i], totals[1][i], strict=True)]
        assert found[name] == pytest.approx(sum(moved) / len(moved), abs=1e-3)
    assert f"chosen log-prob {found['chosen_drift']:+.1f} nats" in prefer.line(found)


def test_it_says_when_the_chosen_answers_become_less_likely() -> None:
    found = {"loss": "dpo", "pairs": 3, "heldout_accuracy": 0.7, "chosen_drift": -5.0}
    assert "it FELL" in prefer.line(found)
    assert "it FELL" not in prefer.line({**found, "chosen_drift": 0.5})
