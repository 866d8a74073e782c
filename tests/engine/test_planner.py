"""Forecasts: sizes from settings and data, lines through measured points, and what is then really held."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tiny
from heedful.engine import planner, rehearsal, sizes
from heedful.engine.batch import Tree, answer_node, microbatches, plain, prompt_node
from heedful.engine.optim import Optimizer
from heedful.engine.precision import dtype
from heedful.engine.rehearsal import Cast, Point, Script
from heedful.engine.train import TrainingConfig, plan
from heedful.nn.likelihood_scorer import LikelihoodScorer
from heedful.stages.rl import RlConfig


def points(phase: str, layers: list[int], tokens: list[int]) -> list[Point]:
    """Measurements of a machine on which everything is exactly linear."""
    return [
        Point(phase, n, t, peak=1000 + 10 * n + (3 + 2 * n) * t, seconds=0.5 + 0.1 * n + 0.01 * n * t)
        for n in layers
        for t in tokens
    ]


def test_a_line_through_small_sizes_says_what_a_large_one_takes() -> None:
    memory = planner.memory_line(points("train", [2, 4], [100, 200]), "train")
    (large,) = points("train", [32], [8192])
    assert memory.at(32, 8192) == pytest.approx(large.peak)
    memory = planner.memory_line(points("train", [8], [100, 200]), "train")
    assert memory.at(8, 5000) == pytest.approx(points("train", [8], [5000])[0].peak)


def timed(layers: list[int]) -> list[Point]:
    """An update of 1 + 0.1 L seconds, 2 L ms a token trained, L ms a token read, sampling that begins with 3 s."""
    found = [Point("optimize", n, 1, 0, 1 + 0.1 * n) for n in layers]
    found += [Point("train", n, t, 0, 1 + 0.1 * n + 0.002 * n * t) for n in layers for t in (100, 200)]
    found += [Point("score", n, t, 0, 0.001 * n * t) for n in layers for t in (100, 200)]
    return found + [Point("sample", n, t, 0, 3 + 0.01 * n * t) for n in layers for t in (8, 32)]


@pytest.mark.parametrize("layers", [[2, 4], [8]])
def test_seconds_of_an_iteration_are_its_phases(layers: list[int]) -> None:
    work = sizes.Sizes((), 0, step=5000, scored=0, answer=64, waves=2, epochs=3, updates=6)
    found = planner.step_seconds(work, planner.time_lines(timed(layers)), 8)
    assert found == {
        "sample": pytest.approx(2 * (3 + 0.08 * 64)),
        "score": pytest.approx(0.008 * 5000),
        "train": pytest.approx(3 * 0.016 * 5000 + 6 * 1.8),
    }


def test_what_chance_adds_to_a_small_step_is_not_taken_for_growth() -> None:
    """A line with a free beginning would forecast 0.5 s and less of a step that takes 4."""
    noisy = [Point("optimize", 2, 1, 1, 0.0), Point("score", 2, 1, 1, 0.0)]
    noisy += [
        Point("train", 2, 1024, 1, 0.9),
        Point("train", 2, 2048, 1, 1.0),
    ]  # 0.5 and 1.0 on a quiet machine
    lines = planner.time_lines(noisy)
    assert planner.step_seconds(sizes.Sizes((), 0, 8192, 0), lines, 2)["train"] == pytest.approx(4.6, abs=0.1)


@pytest.mark.parametrize("size", [1, 7, 64, 600, 8192, 200_000])
def test_small_sizes_are_no_larger_than_the_real_one(size: int) -> None:
    lower, upper = planner.small(size)
    assert 1 <= lower <= upper <= size


def settings(folder: Path, **values: Any) -> dict[str, Any]:
    return {
        "data": str(folder / "data.jsonl"),
        **TrainingConfig(output=folder).model_dump(mode="json"),
        **values,
    }


def test_sizes_are_those_of_the_rows_that_training_would_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    trees = [plain(rng.integers(3, 90, n), np.arange(n) > n // 3) for n in rng.integers(10, 90, 40)]
    monkeypatch.setattr(sizes, "trees_of", lambda *args: trees)
    given = settings(tmp_path, tokens_per_step=500, token_budget=200, epochs=2.0)
    found = sizes.sizes_of("sft", given, "model")
    order = plan(trees, tokens_per_step=500, epochs=2.0, seed=0)
    rows = [[p.layout.total for p in microbatches([trees[i] for i in chosen], 200)] for chosen in order]
    assert found.row == max(map(max, rows))
    assert found.steps == len(rows)
    assert found.step == pytest.approx(np.mean([sum(r) for r in rows]))


def test_the_shape_of_an_example_is_its_untrained_tokens_and_its_answers() -> None:
    assert sizes.shape_of(plain([1, 2, 3, 4, 5], [False, False, False, True, True])) == (3, (2,))
    assert sizes.shape_of(Tree(prompt_node([1, 2]), (answer_node([3]), answer_node([4, 5])))) == (2, (1, 2))


RL = {
    "slots": 4,
    "prompts_per_step": 4,
    "num_generations": 2,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "matrix_learning_rate": 1e-3,
    "offload": False,
    "weight_decay": 0.0,
    "gradient_checkpointing": False,
    "precision": "fp32",
    "head": "last",
    "lm_coef": 0.0,
    **RlConfig(output=Path("-"), model="-", reward="-", prompts=Path("-")).model_dump(
        include={"surrogate", "advantage", "critic", "clip_range", "clip_range_value", "vf_coef", "ptx"}
        | {"kl_in", "kl_coef", "kl_estimator", "entropy_coef"}
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("shape")
    tiny.configs()["llama"].save_pretrained(place)
    return str(place)


@pytest.mark.parametrize("stage", planner.STAGES)
def test_every_stage_is_rehearsed_with_examples_of_its_own_shape(stage: str, folder: str) -> None:
    script = Script(stage, RL, folder, folder, None, [(5, (4, 3))], {})
    cast = Cast(script)
    made = cast.trees(100)
    assert sum(t.size for t in made) == (8 * 12)
    assert sum(t.size for t in cast.trees(7)) == 5, "one that is smaller"
    if stage in ("pretrain", "sft"):
        assert made[0].size == 12
        assert made[0].prompt.trained.sum() == 7
    else:
        assert [len(b.ids) for b in made[0].branches] == [4, 3]
    before = [p.clone() for p in cast.model.parameters()]
    assert min(cast.train(60)) > 0
    assert any(not bool((a == b).all()) for a, b in zip(before, cast.model.parameters(), strict=True))
    assert min(cast.score(60)) > 0
    if stage == "rl":
        assert min(cast.sample(3)) > 0


@pytest.mark.parametrize(
    ("stage", "settings", "parameters", "kind"),
    [
        ("rl", {"advantage": "group", "kl_in": "loss"}, 1, torch.float32),
        ("rl", {"advantage": "gae"}, 2, torch.float32),
        ("rl", {"advantage": "gae", "critic": "shared"}, 1, torch.float32),
        ("reward", {"head": "likelihood"}, 1, torch.float32),
        ("sft", {"precision": "bf16"}, 1, torch.bfloat16),
    ],
)
def test_what_is_rehearsed_follows_the_settings(
    stage: str, settings: dict[str, Any], parameters: int, kind: torch.dtype, folder: str
) -> None:
    """GRPO has no critic; bf16 is rehearsed in bf16; a reward model may be a writer."""
    cast = Cast(Script(stage, RL | settings, folder, folder, None, [(5, (4, 3))], {}))
    assert min(cast.train(60)) > 0
    assert min(cast.score(60)) > 0
    held = sum(p.numel() for p in cast.model.parameters()) / planner.count(folder)
    assert round(held) == parameters
    assert {p.dtype for p in cast.model.parameters()} == {kind}
    assert isinstance(cast.model, LikelihoodScorer) == (settings.get("head") == "likelihood")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit"])
def test_what_is_held_of_a_parameter_is_what_training_holds(
    precision: str, optimizer: str, folder: str
) -> None:
    """Of matrices: small parameters keep their moments in fp32."""
    given = {"precision": precision, "optimizer": optimizer}
    made = torch.nn.Linear(1024, 1024, bias=False, dtype=dtype(precision))  # type: ignore[arg-type]
    update = Optimizer(made, name=optimizer, learning_rate=1e-3)  # type: ignore[arg-type]
    for master in update.parameters:
        master.grad = torch.ones_like(master)
    gradients = sum(m.grad.nbytes for m in update.parameters if m.grad is not None)
    update.step()
    state = {name.rpartition("/")[2]: value.nbytes for name, value in update.state().items()}
    weights = made.weight.nbytes + state.pop("master", 0)
    count = made.weight.numel()
    found = {
        "weights": weights / count,
        "gradients": gradients / count,
        "optimiser": sum(state.values()) / count,
    }
    assert found == pytest.approx(planner.bytes_per_parameter(given), rel=0.05)


def test_fewer_layers_are_the_same_model_but_shorter(folder: str) -> None:
    assert planner.count(folder) == sum(p.numel() for p in tiny.llama().parameters())
    one, two = (rehearsal.random_model(folder, n, "fp32") for n in (1, 2))
    names = {n.replace("layers.0", "layers.1") for n, _ in one.named_parameters()}
    assert names <= {n for n, _ in two.named_parameters()}


def test_a_forecast_is_near_what_is_then_held(folder: str) -> None:
    """The same work at the forecast's size, measured: a wrong slope, phase or unit is off by far more."""
    shapes = [(10, (30,))]
    script = Script("sft", RL, folder, folder, None, shapes, {"train": [4000, 8000]})
    guess = planner.memory_line(planner.played(script), "train")
    (whole,) = planner.played(Script("sft", RL, folder, folder, None, shapes, {"train": [24_000]}))
    assert guess.at(2, 24_000) == pytest.approx(whole.peak, rel=0.15)
