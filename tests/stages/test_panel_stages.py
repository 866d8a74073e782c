"""Panel training, study and stories with a tiny random model: equal compute, controls, resuming, what is counted."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.panel_kit import TOKENIZER, policy, steps
from heedful.data import files
from heedful.engine import panel_fit
from heedful.errors import UserError
from heedful.nn import hub
from heedful.panels.exchange import step_row
from heedful.stages import panel_stories, panel_study, panel_train


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, steps to learn from, and steps to test on."""
    folder = tmp_path_factory.mktemp("panels")
    hub.save_model(folder / "model", policy().model, TOKENIZER)
    files.write_jsonl(folder / "steps.jsonl", map(step_row, steps(4, 3)))
    files.write_jsonl(folder / "test.jsonl", map(step_row, steps(2, 2, "test")))
    return folder


def study(place: Path, **settings: Any) -> panel_study.PanelStudyConfig:
    data = {"model": str(place / "model"), "data": place / "steps.jsonl", "heldout": place / "test.jsonl"}
    sizes = {"epochs": 0.3, "seeds": 2, "passages": 4, "max_length": 1500, "tokens_per_step": 4000}
    return panel_study.PanelStudyConfig(**{"output": place / "study", **data, **sizes, **settings})


def test_a_study_gives_every_arm_the_same_compute_and_goes_on_where_it_stopped(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, int]] = []
    learn = panel_fit.learn

    def stops(model: Any, trees: Any, config: Any, name: str) -> Any:
        if len(trained) == 5:
            raise KeyboardInterrupt
        found = learn(model, trees, config, name)
        trained.append((name, found[0]))
        return found

    monkeypatch.setattr(panel_fit, "learn", stops)
    with pytest.raises(KeyboardInterrupt):
        panel_study.main(study(place))
    monkeypatch.setattr(panel_fit, "learn", lambda *a: trained.append((a[-1], 0)) or learn(*a))
    result = panel_study.main(study(place))
    assert sorted(name for name, _ in trained) == sorted(f"{a} {s}" for a in panel_fit.ARMS for s in (0, 1))
    longest = 1500
    for seed in (0, 1):
        sizes = [row["tokens"] for row in result["arms"] if row["seed"] == seed]
        assert max(sizes) - min(sizes) < longest
    figures = result["figures"]
    assert set(figures) >= {"panel/loss", "text/loss", "gain/shuffled", "nats/plan/last", "copied_words"}
    rows = [json.loads((place / "study" / f"seed-{seed}.json").read_text()) for seed in (0, 1)]
    for gain, with_it, without in (
        ("panel", "panel", "text"),
        ("shuffled", "shuffled", "fixed"),
        ("tested shuffled", "tested shuffled", "fixed"),
    ):
        saved = [1 - row[f"{with_it}/loss"] / row[f"{without}/loss"] for row in rows]
        assert figures[f"gain/{gain}"]["value"] == pytest.approx(sum(saved) / 2)
        assert figures[f"gain/{gain}"]["low"] <= min(saved)
    assert all(row["too_long"] == 0 for row in result["arms"])
    shares = figures["tokens_in_panel"]["value"]
    mixed = (
        shares * figures["loss_seen/panel"]["value"] + (1 - shares) * figures["loss_unseen/panel"]["value"]
    )
    assert mixed == pytest.approx(figures["panel/loss"]["value"], abs=1e-6)
    assert {p.name for p in (place / "study").iterdir()} >= {
        "nats.svg",
        "losses.svg",
        "figures.json",
        "panel-0",
    }


def test_a_study_of_one_story_has_no_stranger(place: Path) -> None:
    one = place / "one.jsonl"
    files.write_jsonl(one, map(step_row, steps(1, 3)))
    with pytest.raises(UserError, match="two stories"):
        panel_study.main(study(place, data=one, output=place / "none"))


def test_training_lowers_the_loss_of_every_part(place: Path) -> None:
    def run(name: str, epochs: float, max_length: int = 1500) -> dict[str, Any]:
        values = {
            "model": str(place / "model"),
            "data": place / "steps.jsonl",
            "heldout": place / "test.jsonl",
        }
        sizes = {
            "epochs": epochs,
            "max_length": max_length,
            "tokens_per_step": 3000,
            "learning_rate": 3e-3,
        }
        return panel_train.main(panel_train.PanelTrainConfig(output=place / name, **values, **sizes))

    short, long = run("short", 0.1), run("long", 3)
    for part in ("write", "update", "plan", "read"):
        assert long[f"heldout_loss_{part}"] < short[f"heldout_loss_{part}"] - 0.3
    assert "heldout_loss_text" in long
    assert "left out" not in panel_train.line(long)
    cut = run("cut", 0.1, max_length=300)
    assert f", {cut['too_long']} parts longer than max_length left out" in panel_train.line(cut)


def test_an_adapter_learns_in_place_of_the_weights(place: Path) -> None:
    pytest.importorskip("peft")
    data = {"model": str(place / "model"), "data": place / "steps.jsonl", "heldout": place / "test.jsonl"}
    sizes = {"max_length": 1500, "tokens_per_step": 3000, "learning_rate": 1e-2, "epochs": 1}
    config = panel_train.PanelTrainConfig(output=place / "lora", lora_r=4, **data, **sizes)
    learnt = panel_train.main(config)["heldout_loss_write"]
    again = panel_train.PanelTrainConfig(
        output=place / "idle", lora_r=4, **data, **{**sizes, "learning_rate": 1e-9}
    )
    assert learnt < panel_train.main(again)["heldout_loss_write"] - 0.1
    assert {f.name for f in (place / "lora" / "model").glob("adapter_*")} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }


@pytest.mark.parametrize(("begin", "cast", "drafts"), [("text", "open", 1), ("panel", "closed", 3)])
def test_stories_are_judged_and_prompts_stay_short(place: Path, begin: Any, cast: Any, drafts: int) -> None:
    if cast == "closed":
        pytest.importorskip("llguidance")
    config = panel_stories.PanelStoriesConfig(
        output=place / f"stories-{begin}",
        begin=begin,
        cast=cast,
        drafts=drafts,
        panel_models=(place / "model",),
        text_models=(place / "model",),
        stories=2,
        passages=4,
        max_completion_length=16,
        panel_tokens=150,
        curve_panels=2,
        curve_samples=2,
        curve_temperatures=(0.0, 1.0),
        text_temperatures=(1.0,),
    )
    result = panel_stories.main(config)
    rows = [
        json.loads(line) for line in (place / f"stories-{begin}" / "stories.jsonl").read_text().splitlines()
    ]
    assert [r["contradictions"] for r in rows if r["kind"] == "world"] == [0, 0]
    assert {r["kind"] for r in rows} == {"world", "panel", "text at 1"}
    assert all(len(r["passages"]) == 5 for r in rows)
    world = result["contradictions"]["world"]
    assert world["value"] == world["of_checked"]["value"] == 0
    assert world["checked"] * world["words"] / 1000 == pytest.approx(2 * 4 * 3)  # three events a passage
    assert set(result["ratio"]["text at 1"]) >= {"value", "low", "high", "of_checked"}
    assert result["prompt_tokens"]["write"]["most"] < 400
    assert result["cut_panels"] == sum(r.get("cut_panels", 0) for r in rows)
    assert ("too long to be shown whole" in panel_stories.line(result)) == bool(result["cut_panels"])
    still = [p for p in result["curve"] if p["temperature"] == 0]
    assert [p["diversity"]["value"] for p in still] == [0.0, 0.0]
