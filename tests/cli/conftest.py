"""The command line in this process, and the least that its verbs can start from."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.kit import ANSWERS, QUESTIONS, Heedful, Outcome, Typed, jsonl
from heedful import cli
from heedful.engine.tokenizer import train_bpe
from heedful.nn import hub


@pytest.fixture
def heedful(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Heedful]:
    """Run `heedful WORDS...` in this process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    handler = signal.getsignal(signal.SIGTERM)

    def run(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["heedful", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return Outcome(int(ended.value.code or 0), out, err)

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random model of a few thousand parameters and its tokenizer."""
    tokenizer = train_bpe([*QUESTIONS, *ANSWERS], 300)
    made = hub.new_llama(
        vocab_size=len(tokenizer),
        hidden_size=16,
        layers=1,
        heads=2,
        max_length=64,
        bos=tokenizer.bos_token_id,
        eos=tokenizer.eos_token_id,
        pad=tokenizer.pad_token_id,
    )
    folder = tmp_path_factory.mktemp("model")
    hub.save_model(folder, made, tokenizer)
    return folder


@pytest.fixture(scope="session")
def scorer(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A reward model with the body of `model`."""
    folder = tmp_path_factory.mktemp("scorer")
    hub.save_model(folder, hub.scorer_from(hub.load_model(model), seed=0), hub.load_tokenizer(model))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Path]:
    """Good files of every kind, by kind, and a judge that likes long answers."""
    folder = tmp_path / "data"
    folder.mkdir()
    asked = [f"{q} {i}" for i in range(8) for q in QUESTIONS]
    pairs = [(q, ANSWERS[i % 4], ANSWERS[(i + 1) % 4]) for i, q in enumerate(asked)]
    judge = folder / "judge.py"
    judge.write_text(
        "def length(prompts, completions, **columns):\n    return [len(c) for c in completions]\n"
    )
    words = folder / "principles.yaml"
    words.write_text(
        "compare: '{conversation} {first} {second}'\ncritique: '{conversation} {answer}'\n"
        "revise: '{conversation} {answer} {critique}'\nprinciples: [{compare: x, critique: y}]\n"
    )
    return {
        "judge": judge,
        "principles": words,
        "texts": jsonl(folder / "texts.jsonl", [{"text": f"{q} {a}"} for q, a, _ in pairs]),
        "conversations": jsonl(folder / "chats.jsonl", [{"prompt": q, "completion": a} for q, a, _ in pairs]),
        "prompts": jsonl(folder / "prompts.jsonl", [{"prompt": q} for q in asked]),
        "preferences": jsonl(
            folder / "preferences.jsonl", [{"prompt": q, "chosen": a, "rejected": b} for q, a, b in pairs]
        ),
    }


@pytest.fixture
def typed(data: dict[str, Path], model: Path, scorer: Path) -> Typed:
    """What to type for a verb on the little model and files."""
    short, little = "max_completion_length=8", "tokens_per_step=256"
    found = {
        "tokenizer": [f"data={data['texts']}", "vocab_size=300"],
        "pretrain": [
            f"data={data['texts']}",
            f"heldout={data['texts']}",
            f"tokenizer={model}",
            "hidden_size=16",
            "layers=1",
            "heads=2",
            little,
        ],
        "sft": [f"model={model}", f"data={data['conversations']}", little],
        "feedback": [
            f"model={model}",
            f"prompts={data['prompts']}",
            f"judge={data['judge']}:length",
            short,
        ],
        "reward": [f"model={model}", f"data={data['preferences']}", little],
        "rl": [
            f"model={model}",
            f"reward={scorer}",
            f"prompts={data['prompts']}",
            "iterations=2",
            "prompts_per_step=4",
            short,
        ],
        "prefer": [f"model={model}", f"data={data['preferences']}", little],
        "best-of": [
            f"model={model}",
            f"reward={scorer}",
            f"prompts={data['prompts']}",
            "num_generations=8",
            "rounds=1",
            little,
            short,
        ],
        "distill": [f"model={model}", f"teacher={model}", f"data={data['conversations']}", little],
        "judge": [
            f"judge={model}",
            f"data={data['preferences']}",
            f"people={data['preferences']}",
            f"principles={data['principles']}",
            "anyway=true",
        ],
        "revise": [
            f"model={model}",
            f"prompts={data['prompts']}",
            f"principles={data['principles']}",
            short,
        ],
        "evaluate": [
            f"models.before={model}",
            f"models.after={model}",
            f"prompts={data['prompts']}",
            f"heldout={data['conversations']}",
            f"reward={scorer}",
            short,
        ],
    }

    def line(verb: str, output: Path) -> list[str]:
        here = [f"store={output.parent / 'feedback.db'}"] if verb == "feedback" else []
        return [verb, "local", *found[verb], *here, f"output={output}"]

    return line
