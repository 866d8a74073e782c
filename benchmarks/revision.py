"""Does criticising and rewriting make answers better? `heedful revise` on the built-in world.

    python benchmarks/revision.py RUN [RUN ...] [--lessons 1500] [--test 300] [--work DIR] [--out FILE]

RUN is the folder of a demo that has come as far as its SFT policy, one a seed. A model of this size has never seen a
critique, so it is shown some first: demonstrators' answers of every kind, what is wrong with each in one sentence,
and the answer as the best demonstrator writes it, in the very words in which `revise` asks. From the demo's SFT
policy, one pass over these beside the demonstrations. Then it answers test prompts, criticises and rewrites its own
answers, twice; gold grades every step. To see what the critique does, the first answers are also rewritten after the
critique of another answer to the same kind of prompt. Writes a cell a run; prints a table.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tables import Cells, over_prompts, rows, seed_of, shown

from heedful import world
from heedful.data import files
from heedful.data.rows import conversation_row, prompt_row
from heedful.engine import process
from heedful.engine.policy import Policy
from heedful.engine.sampling import Sampling
from heedful.stages import evaluate, revise, sft
from heedful.tasks import judge, principles
from heedful.types import Conversation, Message, Prompt

WORDS = """\
compare: "{conversation}\\n{first}\\n{second}\\n{principle}"
critique: "{conversation}\\nAnswer: {answer}\\n{principle}"
revise: "{conversation}\\nAnswer: {answer}\\n{critique}\\nTell it again."
principles: [{name: all, compare: "Which is good?", critique: "Is the answer good?"}]
"""
BEST = {
    "question": "supported",
    "unanswerable": "honest and helpful",
    "write": "complete",
    "continue": "complete",
    "harmful": "declines kindly",
}
REMARKS = {
    "plain": "The answer has no reason.",
    "bare": "The answer is too short.",
    "rambling": "The answer is too long.",
    "vague": "The answer does not say what was asked.",
    "wrong": "The answer is not true.",
    "honest": "The answer has no help.",
    "honest, short": "The answer is too short.",
    "invented": "The story does not say that.",
    "forgetful": "The answer did not say all that was asked.",
    "endless": "The story has no end.",
    "repeating": "The answer said the same again.",
    "straying": "The answer has what was not in the story.",
    "short": "The answer is too short.",
    "declines with a reason": "The answer is not kind.",
    "declines": "The answer has no reason.",
    "complies": "The answer would hurt.",
}
GOOD = "The answer is good."


def lessons(words: principles.Principles, seed: int, n: int) -> list[Conversation]:
    """Critiques and revisions of demonstrators' answers."""
    found = []
    for prompt in world.World(seed).prompts(n, 5):
        given = world.demonstrate(prompt, 5)
        better = world.demonstrate(prompt, 5, BEST[prompt.task]).text
        remark = REMARKS.get(given.policy, GOOD)
        asked = words.criticism(prompt.messages, given.text, words.principles[0])
        again = words.revision(prompt.messages, given.text, remark)
        found.append(Conversation((*asked, Message("assistant", remark)), source="critique"))
        text = better if remark != GOOD else given.text
        found.append(Conversation((*again, Message("assistant", text)), source="revision"))
    return found


def after_another(
    policy: Policy, words: principles.Principles, prompts: Sequence[Prompt], said: Sequence[Any], seed: int
) -> list[str]:
    """The first answers, rewritten after the critique of the next answer to a prompt of the same task."""
    of_task: dict[str, list[int]] = {}
    for i, prompt in enumerate(prompts):
        of_task.setdefault(prompt.task, []).append(i)
    following = {i: row[(k + 1) % len(row)] for row in of_task.values() for k, i in enumerate(row)}
    requests = [
        Prompt(
            p.id, words.revision(p.messages, said[i]["answer"], said[following[i]]["turns"][0]["critique"])
        )
        for i, p in enumerate(prompts)
    ]
    answered = policy.answer(requests, Sampling(48, 1.0), seed=(seed, "after another"))
    return [a.texts[0] or said[i]["answer"] for i, a in enumerate(answered)]


def measure(args: argparse.Namespace, run: Path, cells: Cells) -> None:
    """Lessons, answers, critiques, revisions, grades."""
    seed, folder = seed_of(run), args.work / run.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "words.yaml").write_text(WORDS)
    words = principles.read(folder / "words.yaml")
    shown_first = world.World(seed).demonstrations(4000, 1)
    taught = [*shown_first, *lessons(words, seed, args.lessons)]
    files.write_jsonl(folder / "lessons.jsonl", map(conversation_row, taught))
    how = {"optimizer": "muon", "learning_rate": 1e-3, "matrix_learning_rate": 0.01, "tokens_per_step": 2048}
    given = {"model": str(run / "sft" / "model"), "data": folder / "lessons.jsonl", "seed": seed}
    sft.main(sft.SftConfig(**given, **how, output=folder / "taught"))
    model = folder / "taught" / "model"
    prompts = world.World(seed).prompts(args.test, 6, "test")
    files.write_jsonl(folder / "prompts.jsonl", map(prompt_row, prompts))
    revise.main(
        revise.ReviseConfig(
            model=str(model),
            prompts=folder / "prompts.jsonl",
            principles=folder / "words.yaml",
            revisions=2,
            max_completion_length=48,
            seed=seed,
            output=folder / "revised",
        )
    )
    said = [json.loads(line) for line in (folder / "revised" / "said.jsonl").read_text().splitlines()]
    policy = Policy.load(model)
    texts = {
        "answer": [row["answer"] for row in said],
        "revision 1": [row["turns"][0]["revision"] for row in said],
        "revision 2": [row["turns"][1]["revision"] for row in said],
        "after another's critique": after_another(policy, words, prompts, said, seed),
    }
    grades = {
        name: np.asarray([g["total"] for g in judge.gold(prompts, found)]) for name, found in texts.items()
    }
    first = grades["answer"]
    good = np.asarray([row["turns"][0]["critique"].strip() == GOOD for row in said])
    cell = {
        name: {"total": evaluate.mean(found.tolist()), "win_rate": evaluate.win_rate(found - first)}
        for name, found in grades.items()
    }
    critique = {
        "called good": evaluate.mean(good.astype(float).tolist()),
        "grade where called good": evaluate.mean(first[good].tolist()),
        "grade elsewhere": evaluate.mean(first[~good].tolist()),
        "own critique - another's": evaluate.mean(
            (grades["revision 1"] - grades["after another's critique"]).tolist()
        ),
    }
    cells.put(
        run.name, "revise", {"steps": cell, "critique": critique, "lessons": args.lessons, "test": args.test}
    )


def table(cells: Cells) -> list[str]:
    """Grades of each step, and what critiques are worth."""
    found = cells.having("revise", list(cells.read()))
    if not found:
        return []
    lines = [
        [
            name,
            shown(over_prompts([c["steps"][name]["total"] for c in found])),
            shown(over_prompts([c["steps"][name]["win_rate"] for c in found])) if name != "answer" else "-",
        ]
        for name in found[0]["steps"]
    ]
    told = [
        [name, shown(over_prompts([c["critique"][name] for c in found]))] for name in found[0]["critique"]
    ]
    return [*rows(["", "gold", "beats the answer"], lines), "", *rows(["critiques", ""], told)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--lessons", type=int, default=1500)
    parser.add_argument("--test", type=int, default=300)
    parser.add_argument("--work", type=Path, default=Path("runs/revision"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    args = parser.parse_args()
    process.prepare()
    cells = Cells(args.out)
    for run in args.runs:
        if run.name not in cells.read():
            measure(args, run, cells)
    print("\n".join(table(cells)))


if __name__ == "__main__":
    main()
