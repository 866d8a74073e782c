"""What people choose at the desk trains a reward model and a policy, by the stages that exist."""

from pathlib import Path
from typing import Any

import pytest

from engine.panel_kit import STEPS, TOKENIZER, policy
from heedful.data.formats import read_preferences
from heedful.data.store import Store
from heedful.nn import hub
from heedful.panels import desk
from heedful.panels.panel import Entry
from heedful.people.exports import export
from heedful.stages import prefer, reward
from heedful.web import keeping


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and what a person has chosen and edited at the desk of the studio, exported from its store."""
    folder = tmp_path_factory.mktemp("chosen")
    hub.save_model(folder / "model", policy().model, TOKENIZER)
    with Store.open(folder / "studio.db") as store:
        for number, step in enumerate(STEPS):
            story = desk.begin(f"Tale {number}", step.after.without("plan"), consent=True)
            plans = [["Mina sings"], ["Mina dies", "Mina sings"], ["Tom"]]
            story = desk.written(desk.choose(story, plans[0], plans), "Mina sang.", "lately nothing")
            story = desk.edit(story, story.panel.with_field("people", [Entry("Mina", "glad")]))
            assert keeping.judged(store, "ann", f"s{number}", story, since=0) == 2
        export(store, folder / "preferences.jsonl", "preference")
    return folder


def settings(place: Path, name: str) -> dict[str, Any]:
    return {
        "output": place / name,
        "model": str(place / "model"),
        "data": place / "preferences.jsonl",
        "max_length": 1500,
        "tokens_per_step": 500,
        "epochs": 8.0,
        "learning_rate": 3e-3,
        "heldout_ratio": 0.2,
    }


def test_a_reward_model_learns_what_was_chosen(place: Path) -> None:
    result = reward.main(reward.RewardConfig(**settings(place, "reward")))
    assert len(read_preferences(place / "preferences.jsonl")) == 3 * len(STEPS)
    assert result["heldout_accuracy"]["value"] == 1.0


def test_a_policy_learns_what_was_chosen(place: Path) -> None:
    result = prefer.main(prefer.PreferConfig(**settings(place, "prefer")))
    assert result["heldout_accuracy"] == 1.0
