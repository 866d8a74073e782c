"""Laws of the benchmark's figures, table, picture and comparison, on measurements made up for them."""

import math
import xml.etree.ElementTree as xml
from typing import Any

import pytest

from heedful.bench import show
from heedful.bench.figures import figures, flops
from heedful.bench.peers.job import Clock, Job, Lap
from heedful.bench.run import Measurement, Task
from heedful.bench.works import GROWTH, WORKS

MEMORY = {"ours": 5 * 10**8, "trl": 2 * 10**9, "generate_bf16": 10**9, "loop": 10**9, "torchtune": 10**9}
SPEED = {"ours": 6.0, "trl": 1.0, "generate_bf16": 2.0, "loop": 4.0, "torchtune": 1.5}


def measured(task: Task, repeat: int, speed: float, notes: dict[str, float] | None = None) -> Measurement:
    """Two steps at `speed` batches a second, 100 tokens a sample."""
    batch = WORKS[task.work].batch if task.work in WORKS else 1
    laps = (Lap(1 / speed, batch, 100 * batch, 0.9 / speed),) * 2
    return Measurement(task, repeat, laps, MEMORY[task.side], notes or {"loss": 0.5, "grad_norm": 1.0}, 3.0)


def run(faster: float = 1.0, repeats: int = 3) -> list[Measurement]:
    """All works on model A, every repeat a little slower than the one before, on all sides alike."""
    found = []
    top = {f"{p}/{n}": v for p in ("fp32", "bf16") for n, v in (("flops", 1e12), ("decode/A", 1e4))}
    sizes = {"1000": 2e-5, "1000000": 2.1e-5}
    for repeat in range(repeats):
        slowed = 1 / (1 + 0.1 * repeat)
        found.append(measured(Task("ceiling", "T"), repeat, 1.0, top))
        found += [measured(Task(work, "T"), repeat, 1.0, sizes) for work in GROWTH]
        for work in WORKS:
            for rival in (None, *WORKS[work].rivals):
                task = Task(work, "A", rival)
                ours = faster if rival is None else 1.0
                found.append(measured(task, repeat, SPEED[task.side] * slowed * ours))
    return found


def all_figures(**how: Any) -> dict[str, dict[str, Any]]:
    return figures(run(**how), precision="fp32", seed=0)


def test_drift_that_both_sides_share_does_not_touch_the_ratio() -> None:
    found = all_figures()
    for work in WORKS:
        for rival in WORKS[work].rivals:
            ratio = found[f"bench/{work}-A/ratio_vs_{rival.name}"]
            assert ratio["value"] == pytest.approx(6 / SPEED[rival.name])
            assert ratio["low"] == pytest.approx(ratio["value"])
            assert ratio["high"] == pytest.approx(ratio["value"])
        ours = found[f"bench/{work}-A/ours"]
        assert ours["low"] < ours["value"] < ours["high"]


def test_the_interval_is_students() -> None:
    ours, rival = Task("sft", "A"), Task("sft", "A", WORKS["sft"].rivals[0])
    logs = (0.9, 1.0, 1.4)
    taken = [measured(rival, n, 1.0) for n in range(3)] + [
        measured(ours, n, math.exp(log)) for n, log in enumerate(logs)
    ]
    found = figures(taken, precision="fp32", seed=0)["bench/sft-A/ratio_vs_trl"]
    reach = 4.302653 * math.sqrt(0.07 / 3)  # t(0.975, 2) times the standard error; the variance is 0.07
    assert found["value"] == pytest.approx(math.e)
    assert math.log(found["low"]) == pytest.approx(1.1 - reach)
    assert math.log(found["high"]) == pytest.approx(1.1 + reach)


def test_rates_memory_and_shares() -> None:
    found = all_figures(repeats=1)
    assert found["bench/sft-A/ours"]["value"] == pytest.approx(6 * 16 * 100)
    assert found["bench/dpo-A/trl"]["value"] == pytest.approx(16)
    assert found["bench/dpo-A/memory_vs_trl"]["value"] == pytest.approx(0.25)
    assert found["bench/sampling-A/share_of_floor"]["value"] == pytest.approx(6 * 8 * 100 / 1e4)
    assert found["bench/sft-A/mfu"]["value"] == pytest.approx(6 * found["bench/sft-A/trl_mfu"]["value"])
    own = next(m for m in run(repeats=1) if m.task == Task("sft", "A"))
    assert found["bench/sft-A/mfu"]["value"] == pytest.approx(flops(own, 0) / own.seconds / 1e12)
    assert found["bench/data/growth"]["value"] == pytest.approx(1.05)
    assert found["bench/sft-A/loss_gap_to_trl"]["value"] == 0


def test_what_was_not_measured_is_left_out() -> None:
    ours = [m for m in run() if m.task.side == "ours" and m.task.work in ("sft", "sampling")]
    names = figures(ours, precision="fp32", seed=0)
    assert set(names) == {f"bench/{w}-A/{n}" for w in ("sft", "sampling") for n in ("ours", "memory")}
    assert "sft A, tokens/s" in show.table(names)


def test_the_table_fits_a_terminal_and_names_everything() -> None:
    lines = show.table(all_figures()).splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(lines)
    for work in WORKS:
        assert f"{work} A, {WORKS[work].unit}" in text
    for what in GROWTH.values():
        assert what in text


def test_the_picture_is_well_formed_and_shows_every_ratio() -> None:
    svg = show.picture(all_figures())
    root = xml.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert svg.count("goal") == sum(len(work.rivals) for work in WORKS.values())
    assert xml.fromstring(show.picture({})).tag.endswith("svg")


def test_a_comparison_tells_what_changed_and_nothing_else() -> None:
    def summary(**how: Any) -> dict[str, Any]:
        return {"device": "x", "threads": 2, "precision": "fp32", "figures": all_figures(**how)}

    assert "none of the" in show.changes(summary(), summary())
    told = show.changes(summary(), summary(faster=2.0)).splitlines()
    assert "bench/sft-A/ours: 8,727 -> 17,455 tokens/s (+100%)" in told
    assert not any("/trl:" in line for line in told)
    elsewhere = show.changes(summary(), summary() | {"threads": 8})
    assert "not the same threads: 2 then, 8 now" in elsewhere


def test_a_change_within_the_spread_is_not_told() -> None:
    old = {"value": 100.0, "low": 90.0, "high": 110.0, "unit": "tokens/s"}
    assert show.change("x", old, {**old, "value": 108.0, "low": 105.0, "high": 112.0}) is None
    assert show.change("x", old, {**old, "value": 120.0, "low": 111.0, "high": 130.0}) is not None
    assert show.change("x", old, {**old, "value": 104.0, "low": 111.0, "high": 112.0}) is None


def test_the_clock_leaves_out_the_warm_up_and_stops_when_enough_is_measured() -> None:
    clock = Clock(Job("sft", "", "", "fp32", 16, warm=1, least=2, seconds=0))
    assert [clock.lap(16, n) for n in range(3)] == [False, False, True]
    assert [lap.tokens for lap in clock.measured] == [1, 2]
    patient = Clock(Job("sft", "", "", "fp32", 16, warm=0, least=1, seconds=60))
    assert not patient.lap(1, 1)
