"""Labels from people against labels from a model at one budget, and a policy that judges itself for three rounds.

    python benchmarks/self_rewarding.py RUN [RUN ...] [--lessons 4000] [--prompts 160] [--test 160] [--rounds 3]

RUN is the folder of a demo that has come as far as its judgements. The fine-tuned policy first learns to judge from
people's choices on other prompts (`lessons`), beside the demonstrations. Then: (1) DPO on the choices of people, of
this judge on the same pairs, and of each on half of the prompts; (2) rounds in which the policy answers, judges its
own answers, and learns from the best against the worst of each prompt. Writes benchmarks/self_rewarding.json; a run
that is whole there is not done again.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from preference import Field
from tables import Cells, over_prompts, rows, seed_of, shown

from heedful.data import formats
from heedful.engine import process
from heedful.engine.ai_judge import AiJudge
from heedful.engine.chooser import ModelChooser
from heedful.engine.dialogues import conversations
from heedful.engine.fit import fit
from heedful.engine.optim import Optimizer
from heedful.engine.policy import Policy
from heedful.engine.sampling import Sampling
from heedful.engine.train import batches
from heedful.losses import next_token
from heedful.nn import hub
from heedful.stages import prefer
from heedful.stats import judge_bias
from heedful.tasks.principles import Principle, Principles
from heedful.types import Preference, Prompt

# Few words, since the demo's policy reads 256 tokens.
WORDS = Principles(
    ("A", "B"),
    "{conversation}\nA: {first}\nB: {second}\n{principle}",
    "",
    "",
    (Principle("better", "A or B?"),),
)


def taught_to_judge(start: str, run: Path, lessons: Sequence[Preference], seed: int, folder: Path) -> str:
    """The policy after a pass over lessons in judging and as many demonstrations."""
    policy = Policy.load(start)
    shows = formats.read_conversations(run / "world" / "demonstrations.jsonl")[: len(lessons)]
    trees, _ = conversations(policy.tokenizer, [*WORDS.lessons(lessons), *shows], 256)
    steps = batches(trees, tokens_per_step=2048, seed=seed)
    for _ in fit(policy.model, steps, next_token, Optimizer(policy.model, learning_rate=1e-3)):
        pass
    hub.save_model(folder / "judging", policy.model, policy.tokenizer)
    return str(folder / "judging")


def against_people(model: str, held: Sequence[Preference]) -> dict[str, Any]:
    """The agreement of a judge with people, and its leanings."""
    judge = AiJudge(ModelChooser(Policy.load(model)), WORDS)
    views = judge.views([(p.messages, p.chosen, p.rejected) for p in held])
    longer = np.asarray([float(len(p.chosen) - len(p.rejected)) for p in held])
    numbers = {m: i for i, m in enumerate(dict.fromkeys(p.messages for p in held))}
    return judge_bias.told(judge_bias.figures(views, longer, [numbers[p.messages] for p in held]))


def relabelled(model: str, pairs: Sequence[Preference]) -> list[Preference]:
    """The same pairs with the judge's choice."""
    judge = AiJudge(ModelChooser(Policy.load(model)), WORDS)
    found = judge.prefer([(p.messages, p.chosen, p.rejected) for p in pairs])
    return [
        p if x >= 0.5 else Preference(p.messages, p.rejected, p.chosen)
        for p, x in zip(pairs, found, strict=True)
    ]


def learnt(start: str, pairs: Sequence[Preference], folder: Path, name: str, seed: int) -> str:
    """DPO on pairs; the folder of the policy."""
    path = folder / f"{name}.jsonl"
    formats.write_preferences(path, pairs)
    values: dict[str, Any] = {"tokens_per_step": 2048, "learning_rate": 3e-4, "seed": seed, "resume": False}
    prefer.main(prefer.PreferConfig(output=folder / name, model=start, data=path, **values))
    return str(folder / name / "model")


def own_pairs(model: str, prompts: Sequence[Prompt], seed: int, turn: int) -> list[Preference]:
    """Four answers a prompt; the one that the policy itself finds best against the one that it finds worst."""
    policy = Policy.load(model)
    judge = AiJudge(ModelChooser(policy), WORDS)
    answered = policy.answer(prompts, Sampling(48, 1.0), seed=(seed, "round", turn), n=4)
    found = []
    for prompt, row in zip(prompts, answered, strict=True):
        texts = list(dict.fromkeys(t for t in row.texts if t))
        worth = [g["total"] for g in judge([prompt] * len(texts), texts)]
        if len(texts) > 1 and max(worth) > min(worth):
            best, worst = int(np.argmax(worth)), int(np.argmin(worth))
            found.append(Preference(prompt.messages, texts[best], texts[worst]))
    return found


def measure(args: argparse.Namespace, run: Path, cells: Cells) -> None:
    start, seed = str(run / "sft" / "model"), seed_of(run)
    folder = args.work / run.name
    folder.mkdir(parents=True, exist_ok=True)
    given = formats.read_preferences(run / "round-1" / "feedback" / "preferences.jsonl")
    order = list(dict.fromkeys(p.messages for p in given))
    budget, held = set(order[: args.prompts]), set(order[args.prompts : args.prompts + 100])
    pairs = [p for p in given if p.messages in budget]
    others = [p for p in given if p.messages not in budget | held]
    lessons = [others[i] for i in np.random.default_rng(seed).permutation(len(others))[: args.lessons]]
    judging = taught_to_judge(start, run, lessons, seed, folder)
    unseen = [p for p in given if p.messages in held][:: max(1, len(held) // 20)]
    field = Field(start, run, args.test, seed)

    def keep(name: str, model: str, pairs: Sequence[Preference]) -> None:
        how = {"pairs": len(pairs), "lessons": len(lessons), "prompts": args.prompts, "test": args.test}
        cells.put(run.name, name, {**how, **against_people(model, unseen), **field.figures(Path(model))})

    by_model = relabelled(judging, pairs)
    half = set(order[: args.prompts : 2])
    mixed = [p if p.messages in half else q for p, q in zip(pairs, by_model, strict=True)]
    for name, labels in (("people", pairs), ("model", by_model), ("half and half", mixed)):
        model = learnt(start, labels, folder, f"labels-{name}".replace(" ", "-"), seed)
        keep(f"labels: {name}", model, labels)
    prompts = field.reference.fitting(formats.read_prompts(run / "world" / "prompts.jsonl"), 48)
    keep("round 0", judging, [])
    model = judging
    for turn in range(1, args.rounds + 1):
        asked = prompts[-turn * args.prompts :][: args.prompts]
        chosen = own_pairs(model, asked, seed, turn)
        model = learnt(model, chosen, folder, f"round-{turn}", seed)
        keep(f"round {turn}", model, chosen)


def table(cells: Cells, runs: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    """A row a policy: means over runs."""
    figures = ("win_rate", "agreement", "first_shown", "longer", "kl", "length", "stopped")
    heads = ["", "pairs", "win rate against SFT", "each seed", "agrees with people"]
    heads += ["finds the first better", "finds the longer better", "KL, nats", "length", "ends"]
    lines = []
    for name in names:
        found = cells.having(name, runs)
        rates = " / ".join(f"{c['win_rate']['value']:.3f}" for c in found)
        each = [shown(over_prompts([c.get(f) for c in found])) for f in figures]
        lines.append([name, f"{np.mean([c['pairs'] for c in found]):.0f}", each[0], rates, *each[1:]])
    yield from rows(heads, lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--lessons", type=int, default=4000)
    parser.add_argument("--prompts", type=int, default=160)
    parser.add_argument("--test", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("runs/self_rewarding"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    process.prepare()
    cells = Cells(args.out)
    for run in args.runs:
        if f"round {args.rounds}" not in cells.read().get(run.name, {}):
            measure(args, run, cells)
    known = cells.read()
    names = list(dict.fromkeys(name for run in known.values() for name in run))
    labels = [n for n in names if n.startswith("labels")]
    rounds = [n for n in names if n not in labels]
    print("\n".join([*table(cells, list(known), labels), "", *table(cells, list(known), rounds)]))


if __name__ == "__main__":
    main()
