"""A run -> its headline figures, under names and in a shape that people and programs can rely on."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from heedful.report import peak
from heedful.report.run import Run, StageRun, Stages

Figure = Mapping[str, Any]  # value, low, high, n, unit
Figures = Mapping[str, Figure]

# Stage, key in its result, name of the figure, unit, key of the number of observations.
RESULTS = (
    ("pretrain", "parameters", "pretrain/parameters", "parameters", None),
    ("pretrain", "data_tokens", "pretrain/tokens", "tokens", None),
    ("pretrain", "heldout_loss", "pretrain/heldout_loss", "nats per token", "heldout_tokens"),
    ("pretrain", "heldout_perplexity", "pretrain/heldout_perplexity", "perplexity", "heldout_tokens"),
    ("sft", "heldout_loss", "sft/heldout_loss", "nats per token", "heldout_tokens"),
    ("feedback", "rankings", "feedback/rankings", "rankings", None),
    ("feedback", "qualified", "feedback/qualified_annotators", "annotators", "annotators"),
    ("feedback", "annotator_agreement", "feedback/annotator_agreement", "share", None),
    ("feedback", "agreement", "feedback/judge_agreement", "share", None),
    ("reward", "annotator_agreement", "feedback/annotator_agreement", "share", None),
    ("reward", "annotator_gold_accuracy", "feedback/annotator_gold_accuracy", "share", None),
    ("reward", "heldout_loss", "reward/heldout_loss", "nats per judgement", "heldout_judgements"),
    ("reward", "heldout_accuracy", "reward/heldout_accuracy", "share", None),
    ("reward", "accuracy_on_the_same_pairs", "reward/accuracy_on_the_same_pairs", "share", None),
    ("reward", "gold_accuracy", "reward/gold_accuracy", "share", None),
    ("reward", "calibration_error", "reward/calibration_error", "share", "heldout_judgements"),
    ("reward", "length_controlled_accuracy", "reward/length_controlled_accuracy", "share", None),
    ("reward", "chosen_longer", "reward/chosen_longer", "share", None),
    ("reward", "chosen_shorter", "reward/chosen_shorter", "share", None),
    ("prefer", "heldout_loss", "prefer/heldout_loss", "nats per pair", None),
    ("prefer", "heldout_accuracy", "prefer/heldout_accuracy", "share", None),
    ("prefer", "chosen_drift", "prefer/chosen_drift", "nats", None),
    ("rl", "episodes", "rl/episodes", "answers", None),
)
# What `evaluate` calls a measure, its name here, its unit.
MEASURES = {
    "length": ("length", "tokens"),
    "stopped": ("stop_rate", "share"),
    "repetition": ("repetition", "share"),
    "kl": ("kl", "nats"),
    "reward": ("reward", "score"),
    "judge/total": ("grade", "grade"),
    "judge/correct": ("correct", "share"),
    "heldout_perplexity": ("heldout_perplexity", "perplexity"),
}
MODES = {"sampled": "", "greedy": "_greedy"}
FEW = 4  # steps that a figure of RL's beginning or end is the mean of


@dataclass(frozen=True)
class Outcome:
    """Which policies an evaluation compared with its baseline, over which tasks, and who was promoted."""

    baseline: str
    policies: tuple[str, ...]
    tasks: tuple[str, ...]
    judge: str | None
    promoted: str
    prompts: int

    def win_rate(self, policy: str, *, reward: bool = False, greedy: bool = False, task: str = "") -> str:
        """The name of a win rate; `reward` for the reward model's view instead of the judge's."""
        by, how = "_by_reward_model" if reward else "", "_greedy" if greedy else ""
        return f"{policy}/win_rate_vs_{self.baseline}{by}{how}" + (f"/{task}" if task else "")

    def main_win_rate(self, policy: str, *, greedy: bool = False, task: str = "") -> str:
        """The name of the win rate that counts: the judge's, or the reward model's where nobody judges."""
        return self.win_rate(policy, reward=self.judge is None, greedy=greedy, task=task)


def outcome(stages: Stages) -> Outcome | None:
    """What was compared, or None without a finished evaluation."""
    result = stages["evaluate"].result if "evaluate" in stages else {}
    if "figures" not in result:
        return None
    baseline, judge = result["baseline"], result.get("judge")
    others = tuple(name for name in result["figures"] if name != baseline)
    prefix = "win_rate/judge/total/" if judge else "win_rate/reward/"
    keys = [key for name in others for key in result["figures"][name].get("sampled", {})]
    tasks = dict.fromkeys(key.removeprefix(prefix) for key in keys if key.startswith(prefix))
    return Outcome(baseline, others, tuple(tasks), judge, result["promoted"], result["prompts"])


def figures(run: Run) -> dict[str, Figure]:
    """All headline figures: the shown round's under plain names, every round's under round-N/ if there are several."""
    found = of_stages(run.stages)
    if len(run.rounds) > 1:
        for number, stages in run.rounds.items():
            found |= {f"round-{number}/{name}": figure for name, figure in of_stages(stages).items()}
    return found


def of_stages(stages: Stages) -> dict[str, Figure]:
    """The figures of stages that belong together."""
    found: dict[str, Figure] = {}
    for stage, key, name, unit, n in RESULTS:
        result = stages[stage].result if stage in stages else {}
        if figure := as_figure(result.get(key), unit, result.get(n) if n else None):
            found[name] = figure
    for name in ("reward", "evaluate"):
        if name in stages:
            found |= dict(_parts(stages[name].result))
    if "rl" in stages:
        found |= dict(_entropies(stages["rl"]))
        found |= dict(peak.figures(stages["rl"].rows))
    if "evaluate" in stages:
        found |= dict(_evaluated(stages["evaluate"]))
    return found


def _parts(result: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    """The reward model's accuracy on parts of the judgements, and on the subsets of a benchmark."""
    benchmark = result.get("benchmark") or {}
    groups = {
        "by_strength": result.get("by_strength"),
        "by_criterion": result.get("by_criterion"),
        "benchmark": benchmark.get("by_subset"),
    }
    for name, values in groups.items():
        for part, value in (values or {}).items():
            if figure := as_figure(value, "share"):
                yield f"reward/{name}/{part}", figure
    for key, name in (("accuracy", "benchmark"), ("mean_of_subsets", "benchmark_mean_of_subsets")):
        if figure := as_figure(benchmark.get(key), "share"):
            yield f"reward/{name}", figure


def _entropies(stage: StageRun) -> Iterator[tuple[str, Figure]]:
    """How undecided the policy was in the first and in the last steps of RL."""
    known = [row["entropy"] for row in stage.rows if _finite(row.get("entropy")) is not None]
    if len(known) < 2 * FEW:
        return
    for name, part in (("rl/entropy_at_first", known[:FEW]), ("rl/entropy", known[-FEW:])):
        yield name, {**as_figure(math.fsum(part) / FEW, "nats per token"), "n": FEW}  # type: ignore[dict-item]


def _evaluated(stage: StageRun) -> Iterator[tuple[str, Figure]]:
    result = stage.result
    grade = "grade" if result.get("judge") == "world" else "score"
    for policy, parts in result.get("figures", {}).items():
        for key, value in parts.items():
            if key not in MODES:
                name, unit = MEASURES.get(key, (key, "share"))
                if figure := as_figure(value, unit):
                    yield f"{policy}/{name}", figure
        for mode, suffix in MODES.items():
            for key, value in parts.get(mode, {}).items():
                yield from _measure(policy, key, value, suffix, result["baseline"], grade)


def _measure(
    policy: str, key: str, value: Any, suffix: str, baseline: str, grade: str
) -> Iterator[tuple[str, Figure]]:
    if not key.startswith("win_rate/"):
        name, unit = MEASURES.get(key, (key.removeprefix("judge/"), grade))
        if figure := as_figure(value, grade if unit == "grade" else unit):
            yield f"{policy}/{name}{suffix}", figure
        return
    for prefix, by in (("win_rate/judge/total", ""), ("win_rate/reward", "_by_reward_model")):
        if key == prefix or key.startswith(prefix + "/"):
            rest = f"_vs_{baseline}{by}{suffix}{key.removeprefix(prefix)}"
            if figure := as_figure(value, "share"):
                yield f"{policy}/win_rate{rest}", figure
            if key == prefix and (ties := as_figure(value.get("ties"), "share", value.get("n"))):
                yield f"{policy}/ties{rest}", ties


def as_figure(value: Any, unit: str, n: int | None = None) -> Figure | None:
    """A number, or a mapping with value, low, high and n, in the shape of summary.json; None if there is none."""
    if not isinstance(value, Mapping):
        value = {"value": value, "n": n}
    parts = {key: _finite(value.get(key)) for key in ("value", "low", "high")}
    return {**parts, "n": value.get("n"), "unit": unit} if parts["value"] is not None else None


def _finite(value: Any) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def prefer_loss(stages: Stages) -> str | None:
    """The loss that the stage `prefer` learnt with, None without that stage."""
    stage = stages.get("prefer")
    return str(stage.config.get("loss", "dpo")) if stage else None


def summary(run: Run, *, command: str, peak_memory_bytes: int) -> dict[str, Any]:
    """The content of summary.json."""
    record = run.record
    return {
        "command": command,
        "seed": record.get("seed"),
        "commit": record.get("commit"),
        "device": record.get("device"),
        "threads": record.get("threads"),
        "prefer_loss": prefer_loss(run.stages),
        "seconds": run.seconds,
        "peak_memory_bytes": peak_memory_bytes,
        "figures": figures(run),
    }
