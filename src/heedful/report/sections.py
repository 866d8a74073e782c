"""The page's sections of plots. Each returns None where its stage left nothing to show."""

from heedful.report import digits, plots, series
from heedful.report.figures import Outcome
from heedful.report.plots import Mark
from heedful.report.run import StageRun
from heedful.report.view import Plot, Section, View
from heedful.report.wording import clean

CRITERIA = ("grade", "helpful", "honest", "harmless")


def wins(view: View) -> Section | None:
    """How often each policy beats the baseline: overall, task by task, by criterion, round after round."""
    outcome = view.outcome
    if outcome is None or not outcome.policies:
        return None
    made = [
        overall(view, outcome),
        *by_task(view, outcome),
        criteria(view, outcome),
        over_rounds(view, outcome),
    ]
    shown = tuple(plot for plot in made if plot is not None)
    return Section("wins", view.words("wins"), view.words("wins_note"), shown) if shown else None


def overall(view: View, outcome: Outcome) -> Plot | None:
    """All prompts, by the judge and by the reward model, sampled and greedy."""
    words = view.words
    rows = []
    for reward in (False, True):
        judge = words("judge_reward") if reward else view.judge(outcome)
        for greedy in (False, True):
            label = words("by_judge_greedy" if greedy else "by_judge", judge=judge)
            marks = [
                view.mark(name, figure, hollow=reward)
                for name in view.ranked(outcome)
                if (figure := view.figures.get(outcome.win_rate(name, reward=reward, greedy=greedy)))
            ]
            if marks:
                rows.append((label[:1].upper() + label[1:], marks))
    if not rows:
        return None
    key = "overall_caption" if outcome.judge else "overall_caption_reward"
    caption = words(key, baseline=view.policy(outcome.baseline), judge=view.judge(outcome))
    title = words("overall")
    return Plot(title, plots.dots("overall", rows, title, middle=0.5), caption)


def by_task(view: View, outcome: Outcome) -> list[Plot]:
    """Win rates of each task, by the judge and, beside it, by the reward model."""
    found = []
    for reward in (False, True):
        rows = []
        for task in outcome.tasks:
            names = [
                (name, outcome.win_rate(name, reward=reward, task=task)) for name in view.ranked(outcome)
            ]
            marks = [
                view.mark(name, view.figures[key], hollow=reward)
                for name, key in names
                if key in view.figures
            ]
            if marks:
                rows.append((view.words.named("task", task), marks))
        if rows:
            judge = view.words("judge_reward") if reward else view.judge(outcome)
            title = view.words("tasks", judge=judge)
            svg = plots.dots(f"tasks{reward}", rows, title, middle=0.5)
            caption = view.words(
                "tasks_caption_reward" if reward and outcome.judge else "tasks_caption",
                judge=view.judge(outcome),
            )
            found.append(Plot(title, svg, caption))
    return found


def criteria(view: View, outcome: Outcome) -> Plot | None:
    """Mean marks of every policy; only for a judge whose marks lie between 0 and 1."""
    rows = []
    for criterion in CRITERIA:
        names = [*view.ranked(outcome), outcome.baseline]
        found = [(name, view.figures.get(f"{name}/{criterion}")) for name in names]
        marks = [view.mark(name, f) for name, f in found if f is not None and f["unit"] == "grade"]
        if marks:
            rows.append((view.words.named("criterion", criterion), marks))
    if not rows:
        return None
    title, judge = view.words("criteria"), view.judge(outcome)
    return Plot(
        title, plots.dots("criteria", rows, title, share=False), view.words("criteria_caption", judge=judge)
    )


def over_rounds(view: View, outcome: Outcome) -> Plot | None:
    """The main win rate of every round, where there are several."""
    rows = []
    for number in view.run.rounds if len(view.run.rounds) > 1 else ():
        keys = [(name, f"round-{number}/{outcome.main_win_rate(name)}") for name in view.ranked(outcome)]
        marks = [view.mark(name, view.figures[key]) for name, key in keys if key in view.figures]
        if marks:
            rows.append((view.words("round_label", number=number), marks))
    if not rows:
        return None
    title = view.words("rounds")
    caption = view.words("rounds_caption", baseline=view.policy(outcome.baseline), judge=view.judge(outcome))
    return Plot(title, plots.dots("rounds", rows, title, middle=0.5), caption)


AGREEMENT = (
    ("agree_annotators", "feedback/annotator_agreement", "people"),
    ("agree_same", "reward/accuracy_on_the_same_pairs", "model"),
    ("agree_all", "reward/heldout_accuracy", "model"),
    ("agree_annotators_gold", "feedback/annotator_gold_accuracy", "people"),
    ("agree_gold", "reward/gold_accuracy", "model"),
)


def reward(view: View) -> Section | None:
    """The reward model beside the annotators, and whether its probabilities can be trusted."""
    words, made = view.words, []
    rows = [
        (words(label), [Mark("", figure["value"], figure["low"], figure["high"], role)])
        for label, name, role in AGREEMENT
        if (figure := view.figures.get(name))
    ]
    if rows:
        title = words("agreement")
        made.append(Plot(title, plots.dots("agreement", rows, title, middle=0.5), words("agreement_caption")))
    made += [plot for plot in (parts(view), benchmark(view)) if plot]
    stage = view.run.stages.get("reward")
    if stage and (plot := calibration(view, stage)):
        made.append(plot)
    return Section("reward", words("reward"), words("reward_note"), tuple(made)) if made else None


LENGTHS = ("length_controlled_accuracy", "chosen_longer", "chosen_shorter")


def parts(view: View) -> Plot | None:
    """Accuracy by length, by how strongly people preferred, and by what they judged."""
    words, known = view.words, view.figures
    rows = [(words(key), f"reward/{key}") for key in LENGTHS]
    for group in ("by_strength", "by_criterion"):
        prefix = f"reward/{group}/"
        rows += [(words(group, part=clean(n.removeprefix(prefix))), n) for n in known if n.startswith(prefix)]
    return _accuracies(view, "parts", rows)


def benchmark(view: View) -> Plot | None:
    """Accuracy on each subset of the benchmark, and on all of it."""
    prefix = "reward/benchmark/"
    rows = [(clean(n.removeprefix(prefix)), n) for n in view.figures if n.startswith(prefix)]
    return _accuracies(view, "benchmark", [*rows, (view.words("benchmark_all"), "reward/benchmark")])


def _accuracies(view: View, name: str, rows: list[tuple[str, str]]) -> Plot | None:
    marked = [
        (label, [Mark(f"{figure['n']:,}", figure["value"], figure["low"], figure["high"], "model")])
        for label, key in rows
        if (figure := view.figures.get(key))
    ]
    if not marked:
        return None
    title = view.words(name)
    return Plot(title, plots.dots(name, marked, title, middle=0.5), view.words(f"{name}_caption"))


def calibration(view: View, stage: StageRun) -> Plot | None:
    """The reward model's calibration curve."""
    bins = [b for b in stage.result.get("calibration", ()) if b["observed"]["value"] is not None]
    if not bins:
        return None
    marks = [
        Mark(
            f"{b['observed']['n']:,}",
            b["observed"]["value"],
            b["observed"]["low"],
            b["observed"]["high"],
            "model",
        )
        for b in bins
    ]
    words, gap = view.words, view.figures.get("reward/calibration_error")
    labels = (words("calibration_x"), words("calibration_y"))
    svg = plots.calibration(
        "calibration", marks, [b["predicted"] for b in bins], labels, words("calibration")
    )
    error = words("calibration_error", gap=digits.value_of(gap)) if gap else ""
    return Plot(words("calibration"), svg, words("calibration_caption", error=error))


def losses(view: View) -> Section | None:
    """A curve for every stage that learns from a fixed set of data."""
    words, made = view.words, []
    for name in ("pretrain", "sft", "reward", "prefer"):
        stage = view.run.stages.get(name)
        x, y = series.points(stage.rows if stage else (), "loss")
        if len(x) < 2:
            continue
        heldout = view.figures.get(f"{name}/heldout_loss")
        title = view.stage(name)
        labels = (words("step"), words("training"), words("heldout"))
        svg = plots.loss(f"loss-{name}", x, y, labels, title, heldout["value"] if heldout else None)
        made.append(
            Plot(title, svg, words("loss_named_caption" if view.loss(name) else f"loss_{name}_caption"))
        )
    return Section("losses", words("losses"), words("losses_note"), tuple(made)) if made else None


# Name, metric, values that the axis reaches, whether it is a share.
COURSES: tuple[tuple[str, str, tuple[float, ...], bool], ...] = (
    ("reward", "reward", (), False),
    ("judge", "judge/mean", (), False),
    ("kl", "kl", (0.0,), False),
    ("kl_coef", "kl_coef", (0.0,), False),
    ("length", "completions/mean_length", (0.0,), False),
    ("stop", "stop", (0.9, 1.0), True),
    ("entropy", "entropy", (0.0,), False),
    ("value_explained", "value_explained", (0.0, 1.0), False),
    ("clip_ratio", "clip_ratio", (0.0,), True),
)


def rl(view: View) -> Section | None:
    """Reward against distance, and what else changed over the iterations."""
    stage = view.run.stages.get("rl")
    rows = series.iterations(stage.rows) if stage else []
    if len(rows) < 2:
        return None
    for row in rows:
        if "completions/clipped_ratio" in row:
            row["stop"] = 1 - row["completions/clipped_ratio"]
    words, made = view.words, []
    both = [row for row in rows if "kl" in row and "reward" in row]
    if len(both) > 1:
        _, gain = series.points(both, "reward")
        _, kl = series.points(both, "kl")
        for key, x in (("reward_kl", kl), ("reward_sqrt", kl.clip(0) ** 0.5)):
            labels = (words(f"{key}_x"), words("first"), words("last"))
            svg = plots.path(key, x, gain, labels, words(key))
            made.append(Plot(words(key), svg, words(f"{key}_caption")))
    for name, key, reach, share in COURSES:
        x, y = series.points(rows, key)
        if len(x) > 1:
            title = words(f"course_{name}")
            svg = plots.course(f"course-{name}", x, y, words("iteration"), title, reach, share)
            made.append(Plot(title, svg, words(f"course_{name}_caption")))
    return Section("rl", words("rl"), words("rl_note"), tuple(made)) if made else None


def time(view: View) -> Section | None:
    """A bar for every stage."""
    spent = view.run.seconds
    total = sum(spent.values())
    if not total:
        return None
    rows = [
        (view.stage(name), s, f"{digits.seconds(s)} · {100 * s / total:.0f} %") for name, s in spent.items()
    ]
    svg = plots.bars("time", rows, view.words("time_alt"))
    plot = Plot("", svg, "")
    note = view.words("time_note", total=digits.seconds(total))
    return Section("time", view.words("time"), note, (plot,))
