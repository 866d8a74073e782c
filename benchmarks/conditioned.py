"""Does asking for quality give quality? Single-stage fine-tuning of the base model on answers of mixed quality.

    python benchmarks/conditioned.py RUN [RUN ...] [--test 300] [--only prefix,c_rlft] [--work DIR] [--out FILE]
    python benchmarks/conditioned.py --out FILE

RUN is the folder of a demo that has come as far as its judgements (`heedful demo skip=[rl,prefer]`), one a seed. The
start is its pretrained model, before any fine-tuning, as OpenChat's is. The data are its demonstrations, by people of
mixed skill, and the answers of its SFT policy that were judged, but for those borrowed from other prompts. Each is
rated by the world's gold judge, among all answers or `within tasks`, or (`by reward model`) by the model that learnt
from people's comparisons. A good answer has half of gold's marks at least; where the reward model rates, as many are
good, those it scores highest. `from SFT` starts from the fine-tuned policy that wrote the answers instead.

Every method trains on as many answer tokens in as many steps, and answers the same test prompts once at temperature 1,
asked for each quality. Beside gold's grades stands how much likelier held-out good and poor answers are behind the
best condition than behind the worst: whether the policy reads its condition at all. Does not do again what is in
FILE; without runs it prints the tables and draws the plot.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from judged import sampled
from matplotlib.axes import Axes
from tables import Cells, over_prompts, rows, save_picture, seed_of, shown

from heedful import world
from heedful.data import chat, conditions, files, formats
from heedful.data.rows import messages_row
from heedful.engine import process, tuning
from heedful.engine.batch import Tree, answer_node, prompt_node, trained_tokens
from heedful.engine.conditioned import prompt_of
from heedful.engine.policy import Policy
from heedful.engine.reward_model import RewardModel
from heedful.engine.sampling import Sampling
from heedful.engine.score import sequence_columns
from heedful.nn import hub
from heedful.report.style import COLOURS, MARKERS, picture
from heedful.stages import evaluate, sft
from heedful.tasks import judge
from heedful.types import Prompt


@dataclass(frozen=True)
class Method:
    """Settings of `sft`, who rates the answers, whether the good ones are all there is, and what it starts from."""

    settings: dict[str, Any] = field(default_factory=dict)
    rated: str = "gold"
    good_only: bool = False
    start: str = "pretrain"


def _told(condition: str, **settings: Any) -> dict[str, Any]:
    """Two classes, or five fifths for points and reward tokens."""
    rating = "rating" if condition in ("points", "reward_tokens") else "good"
    return {"condition": condition, "rating": rating, **settings}


METHODS = {
    "sft": Method(),
    "sft on good answers": Method(good_only=True),
    **{c: Method(_told(c)) for c in ("prefix", "reward_tokens", "hindsight", "c_rlft")},
    "prefix from SFT": Method(_told("prefix"), start="sft"),
    "reward_tokens within tasks": Method(_told("reward_tokens"), "within"),
    "points within tasks": Method(_told("points"), "within"),
    "hindsight without masking": Method(_told("hindsight", mask_ratio=0.0)),
    "reward_tokens with KL": Method(_told("reward_tokens", kl_coef=0.05, kl_estimator="vocabulary")),
    "prefix by reward model": Method(_told("prefix"), "reward"),
    "reward_tokens by reward model": Method(_told("reward_tokens"), "reward"),
}
TRAINED, STEPS = 250_000, 250  # answer tokens and steps of every method
CRITERIA = ("judge/total", "judge/helpful", "judge/honest", "judge/harmless")
HALF_MARKS = 0.5


@dataclass(frozen=True)
class Graded:
    """An answer with gold's grade."""

    prompt: Prompt
    text: str
    grade: float

    @property
    def good(self) -> bool:
        return self.grade >= HALF_MARKS


def graded(answers: Sequence[tuple[Prompt, str]]) -> list[Graded]:
    """Answers as gold sees them."""
    grades = judge.gold([p for p, _ in answers], [t for _, t in answers])
    return [Graded(p, t, g["total"]) for (p, t), g in zip(answers, grades, strict=True)]


def demonstrated(seed: int, n: int, number: int, split: Any) -> list[tuple[Prompt, str]]:
    """The demonstrations of the run's world, with the prompts that they are for."""
    return [(p, world.demonstrate(p, number).text) for p in world.World(seed).prompts(n, number, split)]


def mixed(run: Path, rated: str, folder: Path) -> dict[str, Any]:
    """Write all answers with their ratings, and the good ones alone; what there is."""
    known = folder / "data.json"
    if known.exists():
        return dict(json.loads(known.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    answers = graded([*demonstrated(seed_of(run), 4000, 1, "train"), *sampled(run)])
    ratings = [a.grade for a in answers]
    good = [a.good for a in answers]
    if rated == "reward":
        model = RewardModel.load(run / "round-1" / "reward" / "model")
        ratings = [s[0] for s in model.scores([a.prompt for a in answers], [[a.text] for a in answers])]
        least = float(np.quantile(ratings, 1 - np.mean(good)))
        good = [r >= least for r in ratings]
    if rated == "within":
        ratings = within_tasks(answers)
    lines = [
        {
            "messages": [*messages_row(a.prompt.messages), {"role": "assistant", "content": a.text}],
            "rating": rating,
            "good": int(is_good),
        }
        for a, rating, is_good in zip(answers, ratings, good, strict=True)
    ]
    files.write_jsonl(folder / "mixed.jsonl", lines)
    files.write_jsonl(folder / "good.jsonl", [line for line in lines if line["good"]])
    grades = np.asarray([a.grade for a in answers])
    found = {
        "answers": len(answers),
        "good": float(np.mean(good)),
        "grade": float(grades.mean()),
        "grade_good": float(grades[good].mean()),
    }
    known.write_text(json.dumps(found))
    return found


def within_tasks(answers: Sequence[Graded]) -> list[float]:
    """The share of the answers to prompts of the same task that are graded lower."""
    grades: dict[str, list[float]] = {}
    for a in answers:
        grades.setdefault(a.prompt.task, []).append(a.grade)
    ordered = {task: np.sort(values) for task, values in grades.items()}
    return [
        float(np.searchsorted(ordered[a.prompt.task], a.grade) / len(ordered[a.prompt.task])) for a in answers
    ]


def train(method: Method, run: Path, data: Path, output: Path) -> dict[str, Any]:
    """Fine-tune the base model; all methods on as many answer tokens in as many steps."""
    how = {
        "model": str(run / method.start / "model"),
        "output": output,
        "seed": seed_of(run),
        "resume": False,
    }
    how |= {"optimizer": "muon", "learning_rate": 1e-3, "matrix_learning_rate": 0.01}
    config = sft.SftConfig(
        data=data / ("good.jsonl" if method.good_only else "mixed.jsonl"), **how, **method.settings
    )
    build = sft.plain if config.condition == "none" else sft.told
    tokenizer = hub.load_tokenizer(config.model)
    chat.ensure_chat_template(tokenizer)
    trees = build(config, tuning.load_start(config), tokenizer)[0].trees
    epochs = TRAINED / trained_tokens(trees)
    per_step = round(sum(t.size for t in trees) * epochs / STEPS)
    found = sft.main(config.model_copy(update={"epochs": epochs, "tokens_per_step": per_step}))
    return {"heldout_loss": found["heldout_loss"], "epochs": epochs, "tokens": per_step * STEPS}


class Field:
    """Test prompts, and held-out answers of known quality."""

    def __init__(self, run: Path, test: int) -> None:
        self.seed = seed_of(run)
        prompts = formats.read_prompts(run / "world" / "test_prompts.jsonl")
        self.prompts = Policy.load(run / "pretrain" / "model").fitting(prompts, 48)[:test]
        self.shown = graded(demonstrated(self.seed, 400, 2, "test"))

    def answers(self, policy: Policy) -> evaluate.Table:
        """One value an answer of what is measured."""
        answered = policy.answer(self.prompts, Sampling(48, 1.0), seed=(self.seed, "measure"))
        return evaluate.measured(self.prompts, answered, judge.gold, None)

    def figures(self, model: Path, baseline: evaluate.Table | None) -> tuple[dict[str, Any], evaluate.Table]:
        """What comes of asking for each quality, and of the best against the worst and the baseline."""
        policy = Policy.load(model)
        levels = len(conditions.known_to(policy.tokenizer))
        tables = []
        for level in range(1, levels + 1):
            conditions.ask(policy.tokenizer, level)
            tables.append(self.answers(policy))
        tables = tables or [self.answers(policy)]
        best = tables[-1]
        cell: dict[str, Any] = {
            "asked": [{c: evaluate.mean(t[c]) for c in (*CRITERIA, "length")} for t in tables]
        }
        if levels:
            gained = np.asarray(best["judge/total"]) - np.asarray(tables[0]["judge/total"])
            cell |= {"gain": evaluate.mean(gained.tolist()), "read": self.read(policy)}
        if baseline is not None:
            gap = np.asarray(best["judge/total"]) - np.asarray(baseline["judge/total"])
            cell["win_rate"] = evaluate.win_rate(gap)
        return cell, best

    def read(self, policy: Policy) -> dict[str, Any]:
        """How many nats likelier held-out answers are behind the best condition than behind the worst."""
        known = conditions.known_to(policy.tokenizer)
        worst, best = (self.logp(policy, marker) for marker in (known[0], known[-1]))
        gap = best - worst
        good = np.asarray([a.good for a in self.shown])
        return {
            "good": evaluate.mean(gap[good].tolist()),
            "poor": evaluate.mean(gap[~good].tolist()),
        }

    def logp(self, policy: Policy, marker: str) -> np.ndarray[Any, Any]:
        """The log-prob of each held-out answer behind a condition."""
        tokenizer = policy.tokenizer
        trees = [
            Tree(
                prompt_node(prompt_of(tokenizer, a.prompt.messages, marker)),
                (answer_node(chat.answer_ids(tokenizer, a.text)),),
            )
            for a in self.shown
        ]
        return np.asarray([float(row[0].sum()) for row in sequence_columns(policy.model, trees, "logp")])


def measure(args: argparse.Namespace, run: Path, cells: Cells) -> None:
    """Every method on one run that is not there yet, SFT on all answers first."""
    folder = args.work / run.name
    done = cells.read().get(run.name, {})
    wanted = [m for m in dict.fromkeys(["sft", *(args.only or METHODS)]) if m not in done]
    bench = Field(run, args.test)
    known = folder / "baseline.json"
    baseline = json.loads(known.read_text()) if "sft" in done else None
    for name in wanted:
        method = METHODS[name]
        data = mixed(run, method.rated, folder / method.rated)
        output = folder / name.replace(" ", "-")
        found = train(method, run, folder / method.rated, output)
        cell, answers = bench.figures(output / "model", baseline)
        if name == "sft":
            baseline = answers
            known.write_text(json.dumps(answers))
        cells.put(run.name, name, {**cell, **found, "data": data, "test": args.test})


def table(cells: Cells, runs: Sequence[str]) -> Iterator[str]:
    """A row a method, asked for the best: means over the runs."""
    heads = ["method", "gold", "win rate against SFT on all", "each seed", "best - worst"]
    heads += ["good answers", "poor answers", "length"]
    lines = []
    for name in METHODS:
        if not (found := cells.having(name, runs)):
            continue
        best = [c["asked"][-1] for c in found]
        rates = [c.get("win_rate") for c in found]
        each = " / ".join(f"{r['value']:.3f}" for r in rates if r)
        line = [name, shown(over_prompts([b["judge/total"] for b in best])), shown(over_prompts(rates))]
        line += [each or "-", shown(over_prompts([c.get("gain") for c in found]))]
        line += [
            shown(over_prompts([c.get("read", {}).get(k) for c in found]), "{:+.2f}")
            for k in ("good", "poor")
        ]
        line.append(shown(over_prompts([b["length"] for b in best]), "{:.1f}"))
        lines.append(line)
    yield from rows(heads, lines)


def asked(cells: Cells, runs: Sequence[str], name: str) -> list[dict[str, Any]]:
    """What comes of asking for each quality, worst first: a figure a criterion, over the runs."""
    found = [c["asked"] for c in cells.having(name, runs)]
    if not found:
        return []
    return [
        {c: over_prompts([f[level][c] for f in found]) for c in CRITERIA} for level in range(len(found[0]))
    ]


def curves(cells: Cells, runs: Sequence[str]) -> Iterator[str]:
    """What comes of asking for each quality."""
    heads = ["method", "asked for", *(c.removeprefix("judge/") for c in CRITERIA)]
    lines = []
    for name, method in METHODS.items():
        if method.settings:
            levels = enumerate(asked(cells, runs, name), 1)
            lines += [[name, str(level), *(shown(row[c]) for c in CRITERIA)] for level, row in levels]
    yield from rows(heads, lines)


def plot(cells: Cells, runs: Sequence[str]) -> None:
    """Gold's grade by the quality that is asked for, on the runs that have all that is drawn."""
    roles = {
        "prefix": "sft",
        "reward_tokens": "rl",
        "reward_tokens within tasks": "other",
        "hindsight": "prefer",
        "c_rlft": "before",
    }
    drawn = {name: role for name, role in roles.items() if cells.having(name, runs)}
    known = cells.read()
    common = [run for run in runs if {"sft", "sft on good answers", *drawn} <= set(known[run])]
    if not common:
        return

    def draw(axes: Axes) -> None:
        for name, role in drawn.items():
            found = [row["judge/total"] for row in asked(cells, common, name)]
            x, colour = np.linspace(0, 1, len(found)), COLOURS[role]
            low, value, high = ([row[k] for row in found] for k in ("low", "value", "high"))
            axes.plot(x, value, marker=MARKERS[role], color=colour, label=name)
            axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
        for name, dashes in (("sft", (2, 2)), ("sft on good answers", (6, 2))):
            level = over_prompts([c["asked"][0]["judge/total"] for c in cells.having(name, common)])["value"]
            axes.axhline(level, color=COLOURS["soft"], dashes=dashes, linewidth=1, label=name)
        axes.set_xticks([0, 1], ["the worst", "the best"])
        axes.set_xlabel("asked for")
        axes.set_title(f"gold's grade, {', '.join(common)}", loc="left", fontsize=11)
        axes.legend(frameon=False, fontsize=9)

    alt = "Gold's grade of the answers by the quality that is asked for, for each way to tell quality"
    save_picture("conditioned", picture("conditioned", 300, draw, alt))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--test", type=int, default=300)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[])
    parser.add_argument("--work", type=Path, default=Path("runs/conditioned"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    process.prepare()
    cells = Cells(args.out)
    for run in args.runs:
        measure(args, run, cells)
    known = list(cells.read())
    print("\n".join([*table(cells, known), "", *curves(cells, known)]))
    plot(cells, known)


if __name__ == "__main__":
    main()
