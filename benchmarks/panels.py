"""Every figure of docs/panels.md in one command: `python benchmarks/panels.py [--output DIR] [--shared DIR] [--quick]`.

It begins with nothing: the world's files, a tokenizer, a base model that has learnt to copy, then the study, whose
models read and write all the rest. Each step is a verb of the command line and is not run again once it is done, so a
run that was stopped goes on with the same command. The results lie in panels.json beside this file, the plots in docs/.
With `--quick` everything is run at sizes at which nothing is learnt, to see that it runs, and stays in DIR.
"""

import argparse
import gzip
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from heedful.data import atomic, files
from heedful.engine import panel_fit, panel_gains, record
from heedful.engine.panel_author import open_author
from heedful.engine.panel_story import Heat, Prompts, from_panels, from_text, read_first
from heedful.engine.policy import Policy
from heedful.nn import hub
from heedful.panels import desk
from heedful.panels.exchange import Step, to_json
from heedful.stages import panel_stories, panel_study
from heedful.stages.panel_stories import words_of
from heedful.stages.panel_study import PanelStudyConfig
from heedful.stats.estimate import Estimate
from heedful.stats.intervals import mean_interval
from heedful.stats.long_range import of_text
from heedful.world import saga

HERE = Path(__file__).parent
TRAINING = ["optimizer=muon", "learning_rate=2e-3", "matrix_learning_rate=0.01", "tokens_per_step=2048"]
TWO_PARTS = ["write=1", "update=0.6", "plan=0.2", "read=0.4", "partial=0.2"]
PARTS: list[dict[str, Any]] = [  # of each leg of the pair that writes long stories: the second plans more
    {"update": 1.0, "plan": 0.3, "read": 0.4, "partial": 0.1},
    {"update": 1.0, "plan": 1.0, "read": 0.5, "partial": 0.0},
]
PAIR = f"longer-{len(PARTS)}"
HELD = ["plans=8", "choose=rule", "drafts=12"]
FRESH = (1, 2)
"""Seeds of stories on which no rule was tried before."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything; the settings of the figures are those that stand here."""

    world: tuple[str, ...] = ("stories=3000", "test_stories=60")
    seeds: int = 3
    epochs: float = 0.1  # of the panel arm of the study, which sets the tokens of all
    passages: int = 240
    legs: tuple[int, ...] = (3_500_000, 2_500_000)  # tokens of each arm of the pair
    stories: int = 24
    long: int = 50  # passages of a long story
    longest: int = 450
    rounds: int = 2
    prompts: int = 600
    real_epochs: float = 0.4
    real_passages: int = 150
    tale: int = 60  # passages of a tale that a real model writes
    panel_tokens: int = 256


QUICK = Sizes(
    world=("stories=12", "test_stories=2", "documents=60", "heldout_documents=4"),
    seeds=2,
    epochs=0.02,
    passages=12,
    legs=(3000, 3000),
    stories=2,
    long=3,
    longest=4,
    rounds=1,
    prompts=2,
    real_epochs=0.002,
    tale=5,
    panel_tokens=128,  # of untrained models, which fill a panel
)


def heedful(output: Path, *words: str) -> dict[str, Any]:
    """Run a verb, and return the result that it left in its folder."""
    command = [sys.executable, "-m", "heedful", *words, f"output={output}"]
    subprocess.run(command, check=True)
    return dict(json.loads((output / "stage.json").read_text(encoding="utf-8"))["result"])


def base(out: Path, sizes: Sizes) -> dict[str, Any]:
    """Files of the world, and the model that all arms begin from: it has seen no panel with its passage."""
    world = out / "world"
    heedful(world, "panel", "world", "demo", *sizes.world)
    heedful(out / "tokenizer", "tokenizer", "demo", f"data={world}/words.jsonl", "vocab_size=900")
    texts = [f"data={world}/text.jsonl", f"heldout={world}/heldout_text.jsonl"]
    tokenizer = f"tokenizer={out}/tokenizer/tokenizer"
    return {"base": heedful(out / "base", "pretrain", "demo", *texts, tokenizer, "max_length=320")}


def steps(out: Path) -> list[str]:
    """The world's steps, to learn from and held out."""
    return [f"data={out}/world/steps.jsonl", f"heldout={out}/world/test_steps.jsonl"]


def study(out: Path, sizes: Sizes) -> dict[str, Any]:
    """The claim: the four arms from the same base, on as many tokens each."""
    often = [f"seeds={sizes.seeds}", f"epochs={sizes.epochs}", "max_length=260", f"passages={sizes.passages}"]
    words = ["panel", "study", "demo", f"model={out}/base/model", *steps(out), *TRAINING, *TWO_PARTS, *often]
    return {"study": heedful(out / "study", *words)}


def longer(out: Path, sizes: Sizes) -> dict[str, Any]:
    """A writer with panels and one of plain text for long stories: from one base, on as many tokens in each leg."""
    data = {"data": out / "world/steps.jsonl", "heldout": out / "world/test_steps.jsonl", "max_length": 260}
    rates = {
        "optimizer": "muon",
        "learning_rate": 2e-3,
        "matrix_learning_rate": 0.01,
        "tokens_per_step": 2048,
    }
    arms: tuple[panel_fit.Arm, ...] = ("panel", "text")
    model, rows = dict.fromkeys(arms, f"{out}/base/model"), []
    for number, (tokens, shares) in enumerate(zip(sizes.legs, PARTS, strict=True), 1):
        place = out / f"longer-{number}"
        place.mkdir(parents=True, exist_ok=True)
        for arm in arms:
            config = PanelStudyConfig(output=place, model=model[arm], **data, **rates, **shares)
            tokenizer, told = hub.load_tokenizer(config.model), panel_study.read_steps(config.data)
            atomic.write_json(place / "fixed.json", to_json(panel_fit.fixed(told)))
            rows.append(panel_study.one(config, place, tokenizer, arm, 0, told, tokens))
            model[arm] = str(place / f"{arm}-0")
    return {"longer": rows}


def reading(out: Path, sizes: Sizes) -> dict[str, Any]:
    """Panels read from held-out stories under the grammar, by models that have learnt more and more of it."""
    found = [read(out / f"read-{seed}", out / f"study/panel-{seed}", out) for seed in range(sizes.seeds)]
    return {
        "reading": found,
        "reading_f1": interval([row["scores"]["all"]["f1"] for row in found]),
        "reading_longer": read(out / "read-longer", out / PAIR / "panel-0", out),
    }


def read(output: Path, model: Path, out: Path) -> dict[str, Any]:
    """What a model reads from the held-out stories."""
    test = f"data={out}/world/test_steps.jsonl"
    return heedful(output, "panel", "extract", "demo", f"model={model}", test, "max_completion_length=160")


def stories(out: Path, sizes: Sizes) -> dict[str, Any]:
    """Long stories: panels against a window of text as long, by models trained on as many tokens; and a longer one."""
    words = pair_tells(out, sizes)
    many, short = (
        [f"stories={sizes.stories}", f"passages={sizes.long}"],
        ["text_temperatures=[0.5]", "curve_panels=0"],
    )
    ways = {
        "stories": [],
        "stories_closed": [*short, "cast=closed"],
        "stories_held_open": [*short, *HELD],
        "stories_held": ["curve_panels=0", *HELD, "cast=closed"],
        "stories_held_begun": [*short, *HELD, "cast=closed", "begin=panel"],
    }
    longest = ["stories=2", f"passages={sizes.longest}", *short, "plan_temperature=0.4"]
    return {name: heedful(out / name, *words, *many, *how) for name, how in ways.items()} | {
        "long_story": heedful(out / "long", *words, *longest)
    }


def pair_tells(out: Path, sizes: Sizes) -> list[str]:
    """The verb that lets the pair write long stories."""
    models = [f"panel_models=[{out}/{PAIR}/panel-0]", f"text_models=[{out}/{PAIR}/text-0]"]
    return ["panel", "stories", "demo", *models, f"panel_tokens={sizes.panel_tokens}"]


def fresh(out: Path, sizes: Sizes) -> dict[str, Any]:
    """Held stories of the fresh seeds, counted together."""
    rows: list[dict[str, Any]] = []
    many = [f"stories={max(2, sizes.stories // 3)}", f"passages={sizes.long}", "curve_panels=0"]
    for seed in FRESH:
        place = out / f"fresh-{seed}"
        heedful(place, *pair_tells(out, sizes), *many, *HELD, "cast=closed", f"seed={seed}")
        told = [dict(row.data) for row in files.read_rows(place / "stories.jsonl")]
        rows += [{**row, "story": 1000 * seed + row["story"]} for row in told]
    counted = {"contradictions": panel_stories.rates(rows), "ratio": panel_stories.ratios(rows, 0)}
    return {"stories_fresh": {"seeds": list(FRESH), **counted}}


def told_right(out: Path, sizes: Sizes) -> dict[str, Any]:
    """How many sentences of each kind of event the pair's writer would tell right under the true panel, and nats."""
    folder = str(out / PAIR / "panel-0")
    model, tokenizer = hub.load_model(folder), hub.load_tokenizer(folder)
    told = [p for number in range(60) for p in list(saga.saga("en", 0, number, 6, "test"))[1:]]
    asked = [Step("", 0, p.text, p.before, p.after) for p in told]
    found: dict[str, list[tuple[bool, float]]] = {}
    rows = panel_gains.under(model, tokenizer, asked, [p.before for p in told])
    for p, row in zip(told, rows, strict=True):
        ends = np.asarray(["." in tokenizer.decode([i]) for i in row.ids])
        sentence = np.cumsum(ends) - ends
        for number, event in enumerate(p.events, 1):
            mine = sentence == number
            found.setdefault(event.kind, []).append(
                (bool(row.right[mine].all()), float(row.nats[mine].sum()))
            )
    means = {kind: np.mean(pairs, 0).tolist() for kind, pairs in found.items()}
    return {
        "told_right": {
            kind: {"right": m[0], "nats": m[1], "n": len(found[kind])} for kind, m in means.items()
        }
    }


def rounds(out: Path, sizes: Sizes) -> dict[str, Any]:
    """Panels learn from a judge: the study's first model reads, the best of its answers are learnt, and so again."""
    model, found = out / "study/panel-0", [quality(out / "read-0", out)]
    for number in range(1, sizes.rounds + 1):
        place = out / f"rounds/{number}"
        asked = [f"model={model}", "reward=panel", f"prompts={out}/world/prompts.jsonl", f"seed={number}"]
        drawn = [
            "rounds=1",
            f"prompts_per_round={sizes.prompts}",
            "num_generations=8",
            "max_completion_length=140",
        ]
        learn = ["epochs=2", "learning_rate=5e-4", "tokens_per_step=2048", "max_length=260"]
        earned = heedful(place / "best", "best-of", "demo", *asked, *drawn, *learn)["best_of"]
        model = place / "best/model"
        read(place / "read", model, out)
        found.append({**quality(place / "read", out), "best_of": earned})
    return {"rounds": found, "rounds_beside": quality(out / "read-longer", out)}


def quality(reading: Path, out: Path) -> dict[str, Any]:
    """How well panels were read, and what that does to the text: its loss under them, for one writer of the study.

    The plan is the true one in every panel, so that what differs is what was remembered.
    """
    scores = json.loads((reading / "stage.json").read_text(encoding="utf-8"))["result"]["scores"]["all"]
    found = {(s.story, s.index): s for s in panel_study.read_steps(reading / "steps.jsonl")}
    true = [s for s in panel_study.read_steps(out / "world/test_steps.jsonl") if s.before.plan]
    shown = [found[s.story, s.index].before.with_field("plan", s.before.plan) for s in true]
    folder = str(out / "study/panel-1")
    writer = hub.load_model(folder), hub.load_tokenizer(folder)
    loss = {
        name: panel_gains.summary(panel_gains.under(*writer, true, panels))["loss"]
        for name, panels in (("read", shown), ("true", [s.before for s in true]))
    }
    return {"reading": scores, "loss_under_read_panels": loss["read"], "loss_under_true_panels": loss["true"]}


def real(out: Path, sizes: Sizes, shared: Path) -> dict[str, Any]:
    """The same study on real tales with a small real model; panels are read by rule. Then each arm writes a tale."""
    place = out / "real"
    place.mkdir(parents=True, exist_ok=True)
    with gzip.open(shared / "data" / "tales" / "grimm.txt.gz", "rt", encoding="utf-8") as file:
        parts = re.split(r"^[A-Z][A-Z ,’'-]+$", file.read(), flags=re.MULTILINE)
    whole = [re.sub(r"(?<!\n)\n(?!\n)", " ", part).strip() for part in parts]
    told = [{"text": tale} for tale in whole if len(tale) > 1000]
    cut = round(len(told) * 0.9)
    for name, some in (("train", told[:cut]), ("test", told[cut:])):
        files.write_jsonl(place / f"{name}.jsonl", some)
        words = ["model=rule", f"data={place}/{name}.jsonl", "characters=250"]
        heedful(place / name, "panel", "extract", "demo", *words)
    data = [f"data={place}/train/steps.jsonl", f"heldout={place}/test/steps.jsonl"]
    often = [f"seeds={sizes.seeds}", f"epochs={sizes.real_epochs}", "max_length=500"]
    often.append(f"passages={sizes.real_passages}")
    words = ["panel", "study", "demo", f"model={shared}/models/stories260K", *data]
    return {
        "real_study": heedful(place / "study", *words, *TRAINING, *TWO_PARTS, *often),
        "tales": tales(place, sizes),
    }


def tales(place: Path, sizes: Sizes) -> dict[str, Any]:
    """DFA exponents of the tales that every seed's real arms write from the test's openings, beside the human ones.

    All texts of a tale are cut to as many words as the shortest of them has; each seed counts its mean over the tales.
    """
    told = panel_fit.stories(panel_study.read_steps(place / "test/steps.jsonl"))
    human = [words_of([s.passage for s in row]) for row in told]
    opened = [row[0].passage for row in told]
    found = [told_by_arms(place, seed, opened, sizes.tale) for seed in range(sizes.seeds)]
    told_words = {arm: [[words_of(t) for t in row[arm]] for row in found] for arm in found[0]}
    rng = np.random.default_rng(0)
    told_words["human"] = [human]
    told_words["human, shuffled"] = [[list(rng.permutation(words)) for words in human] for _ in found]
    least = [min(len(row[n]) for rows in told_words.values() for row in rows) for n in range(len(human))]
    values = {
        name: [
            [v for t, n in zip(row, least, strict=True) if (v := of_text(t[:n]).value) is not None]
            for row in rows
        ]
        for name, rows in told_words.items()
    }
    arms = {name: rows for name, rows in values.items() if name != "human"}
    return {
        "words": least,
        "tales": values,
        "human": interval(values["human"][0]),
        "human, in a row": as_json(of_text([word for words in human for word in words])),
        **{name: interval([float(np.mean(row)) for row in rows if row]) for name, rows in arms.items()},
    }


def told_by_arms(place: Path, seed: int, opened: list[str], tale: int) -> dict[str, list[list[str]]]:
    """Tales of one seed's arms from the same openings; the text sees as many tokens as the panel's prompt has."""
    kept = place / f"tales-{seed}.json"
    if not kept.is_file():
        author, lengths, how = (
            open_author(str(place / f"study/panel-{seed}")),
            Prompts(),
            {"max_completion_length": 160},
        )
        desks = read_first(author, opened, "en", seed=(seed, "tale"))
        for now in from_panels(
            author, desks, tale, Heat(1.0, 0.8), seed=(seed, "tale"), prompts=lengths, **how
        ):
            desks = now
        window = [round(n) for n in lengths.tokens["write"]]
        policy = Policy.load(str(place / f"study/text-{seed}"))
        text = from_text(policy, opened, tale, window, temperature=0.8, seed=(seed, "tale"), **how)
        atomic.write_json(kept, {"panel": [list(desk.passages(d)) for d in desks], "text": text})
    return dict(json.loads(kept.read_text(encoding="utf-8")))


def interval(values: list[float]) -> dict[str, Any]:
    """A mean with Student's 95 % interval."""
    return as_json(mean_interval(np.asarray(values)))


def as_json(e: Estimate) -> dict[str, Any]:
    """An estimate as it is written to files."""
    return {"value": e.value, "low": e.low, "high": e.high, "n": e.n}


PLOTS = {
    "panel-losses": "study/losses.svg",
    "panel-nats": "study/nats.svg",
    "panel-curve": "stories/curve.svg",
    "panel-prompts": "long/prompts.svg",
    "panel-losses-real": "real/study/losses.svg",
}


def main() -> None:
    """Run everything, and put the results together as they come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/panels"))
    parser.add_argument("--shared", type=Path)
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes; figures and plots stay in the output"
    )
    asked = parser.parse_args()
    out, sizes = asked.output, QUICK if asked.quick else Sizes()
    found: dict[str, Any] = {"command": "python " + " ".join(["benchmarks/panels.py", *sys.argv[1:]])}
    found |= {"commit": record.commit(), "seeds": list(range(sizes.seeds))}
    parts: list[Callable[[Path, Sizes], dict[str, Any]]] = [
        base,
        study,
        longer,
        reading,
        stories,
        fresh,
        told_right,
        rounds,
    ]
    if asked.shared is not None:
        parts.append(partial(real, shared=asked.shared))
    for part in parts:
        found |= part(out, sizes)
        atomic.write_json((out if asked.quick else HERE) / "panels.json", found)
    for name, source in () if asked.quick else PLOTS.items():
        if (out / source).is_file():
            shutil.copy(out / source, HERE.parent / "docs" / f"{name}.svg")


if __name__ == "__main__":
    main()
